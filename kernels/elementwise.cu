// Element-wise operators and chains of them: WIDTH elements of each thread, read and written together. PARAMETERS, OFFSETS, LOADS, ARGUMENTS, TAIL
// and the function `chain` are made for the operators there are.

extern "C" __global__ void elementwise(PARAMETERS, Y* __restrict__ y, u32 count) {
    u32 index = (blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (index >= count) return;
    OFFSETS;
    if (index + WIDTH <= count) {
        vec<Y, WIDTH> result;
        LOADS;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) result[i] = chain(ARGUMENTS);
        store(y + index, result);
    } else {
        for (int i = 0; index + i < count; i++) y[index + i] = chain(TAIL);
    }
}
