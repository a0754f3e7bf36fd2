// Runs of elements picked along an axis by index; an index that is not on the axis gives zeros. T has as many bytes as are copied at once.

// `count` elements of the output, `run` of them side by side, for `places` indices into an axis of `extent`.
extern "C" __global__ void gather(const T* data, const INDEX* indices, T* y, Fault* fault, u32 count, u32 run, u32 places, u32 extent) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    u32 row = index / run, outer = row / places;
    u32 at = position(indices[row - outer * places], extent, fault);
    T value = {};
    if (at != NOWHERE) value = data[(outer * extent + at) * run + (index - row * run)];
    y[index] = value;
}
