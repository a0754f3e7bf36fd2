// Softmax of rows of bytes, `extent` of them that lie `step` apart, quantised: in float64, as the operator is defined. There are 256 distances
// from a row's greatest element, and as many exponentials.

extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    qlinear_softmax(const X* __restrict__ x, const double* __restrict__ exponentials, X* __restrict__ y, u32 rows, u32 extent, u32 step,
                    double y_scale, i32 zero) {
    u32 row = own_row();
    // A row too many does the last one's work again, but writes nothing: all threads meet at the barriers.
    bool exists = row < rows;
    u32 source = exists ? row : rows - 1;
    u32 start = source / step * extent * step + source % step;
    auto load = [&](u32 first, i32 (&values)[WIDTH]) { load_pack(x + (start + first * step), values); };
    Part<i32> part(extent, load);
    i32 greatest = LEAST;
    part.each(load, [&](u32, i32 (&values)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) greatest = max(greatest, values[j]);
    });
    greatest = greatest_of(greatest);
    double sum = 0.0;
    part.each(load, [&](u32, i32 (&values)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) sum += exponentials[greatest - values[j]];
    });
    sum = sum_of(sum);
    if (!exists) return;
    part.each(load, [&](u32 first, i32 (&values)[WIDTH]) {
        i32 results[WIDTH];
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) {
            double steps = rint(exponentials[greatest - values[j]] / sum / y_scale);
            i32 near = steps > 1048576.0 ? 1048576 : i32(steps);
            results[j] = min(max(near + zero, LEAST), MOST);
        }
        store_pack(y + (start + first * step), results);
    });
}
