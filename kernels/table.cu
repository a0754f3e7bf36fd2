// Functions of bytes as tables.

#if TWO
extern "C" __global__ void table(const u8* values, const u8* x, const u8* y, u8* output, u32 count, Loops<RANK, 2> loops) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    u32 at[2];
    loops.walk(index, at);
    output[index] = __ldg(values + (u32(x[at[0]]) * 256u + u32(y[at[1]])));
}
#else
// 16 bytes of each thread.
extern "C" __global__ void table(const u8* values, const u8* x, u8* output, u32 count) {
    u32 first = (blockIdx.x * blockDim.x + threadIdx.x) * 16;
    if (first + 16 <= count) {
        vec<u8, 16> bytes = load<16>(x + first);
#pragma unroll
        for (u32 i = 0; i < 16; i++) bytes[i] = __ldg(values + bytes[i]);
        store<16>(output + first, bytes);
    } else {
        for (u32 at = first; at < count; at++) output[at] = __ldg(values + x[at]);
    }
}
#endif
