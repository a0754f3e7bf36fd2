// Rows of `extent` elements that lie `step` apart, divided by their norms: the square roots of the sums of SQUARES, or the sums of magnitudes.

extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    lp_norm(const X* __restrict__ x, Y* __restrict__ y, u32 rows, u32 extent, u32 step) {
    u32 row = own_row();
    // A row too many does the last one's work again, but writes nothing: all threads meet at the barriers.
    bool exists = row < rows;
    u32 source = exists ? row : rows - 1;
    u32 start = source / step * extent * step + source % step;
    auto load = [&](u32 first, float (&values)[WIDTH]) { load_pack(x + (start + first * step), values); };
    Part<float> part(extent, load);
    float sum = 0.0f;
    part.each(load, [&](u32, float (&values)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) sum += SQUARES ? values[j] * values[j] : fabsf(values[j]);
    });
    sum = sum_of(sum);
    float norm = SQUARES ? sqrtf(sum) : sum;
    if (!exists) return;
    part.each(load, [&](u32 first, float (&values)[WIDTH]) {
        float results[WIDTH];
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) results[j] = norm == 0.0f ? 0.0f : values[j] / norm;
        store_pack(y + (start + first * step), results);
    });
}
