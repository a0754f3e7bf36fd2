// A new axis of `depth` places, `inner` apart, on which one place is on: X are indices, T the values.

extern "C" __global__ void one_hot(const X* x, const T* values, T* y, u32 count, u32 depth, u32 inner) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    u32 row = index / inner, column = index - row * inner;
    u32 outer = row / depth, place = row - outer * depth;
    i64 at = expressions::Cast<i64>::of(WIDE(x[outer * inner + column]));
    if (at < 0) at += i64(depth);
    y[index] = values[at == i64(place) ? 1 : 0];
}
