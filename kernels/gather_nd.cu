// Slices of `run` elements picked by tuples of indices; a tuple that names none gives zeros.

extern "C" __global__ void gather_nd(const T* data, const INDEX* indices, T* y, Fault* fault, u32 count, u32 run, Tuples tuples) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    u32 tuple = index / run;
    u32 slice = tuples.slice(tuple, indices, fault);
    T value = {};
    if (slice != NOWHERE) value = data[slice * run + (index - tuple * run)];
    y[index] = value;
}
