// The same element everywhere, WIDTH of them at once.

extern "C" __global__ void constant_of_shape(T* y, vec<T, WIDTH> value, u32 count) {
    u32 index = (blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (index + WIDTH <= count) store<WIDTH>(y + index, value);
    else for (u32 i = 0; index + i < count; i++) y[index + i] = value[i];
}
