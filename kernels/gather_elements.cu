// Elements picked along an axis by index; an index that is not on the axis gives zero. The loops over the indices walk the data but for the
// axis, whose neighbours lie `stride` apart.

extern "C" __global__ void gather_elements(const T* data, const INDEX* indices, T* y, Fault* fault, u32 count, u32 extent, u32 stride, Loops<RANK, 1> loops) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    u32 at = position(indices[index], extent, fault), from[1];
    loops.walk(index, from);
    T value = {};
    if (at != NOWHERE) value = data[from[0] + at * stride];
    y[index] = value;
}
