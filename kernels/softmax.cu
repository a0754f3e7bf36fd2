// Softmax of rows of `extent` elements that lie `step` apart.

extern "C" __global__ void softmax(const X* x, Y* y, u32 rows, u32 extent, u32 step) {
    u32 row = own_row();
    u32 lane = own_lane();
    // A row too many does the last one's work again, but writes nothing: all threads meet at the barriers.
    bool exists = row < rows;
    u32 source = exists ? row : rows - 1;
    u32 start = source / step * extent * step + source % step;
    float greatest = float(x[start]);
    for (u32 i = lane; i < extent; i += LANES) greatest = fmaxf(greatest, float(x[start + i * step]));
    greatest = greatest_of(greatest);
    float sum = 0.0f;
    for (u32 i = lane; i < extent; i += LANES) sum += expf(float(x[start + i * step]) - greatest);
    sum = sum_of(sum);
    float shift = LOG ? logf(sum) : 1.0f / sum;
    if (!exists) return;
    for (u32 i = lane; i < extent; i += LANES) {
        float value = float(x[start + i * step]) - greatest;
        y[start + i * step] = Y(LOG ? value - shift : expf(value) * shift);
    }
}
