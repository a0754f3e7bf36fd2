// Quantisation by the range of the data: first the ranges of its parts, then, in every block, scale and zero point, and the elements.

#define THREADS 256u

// The least and the greatest number of all threads.
INLINE float2 range_of(float least, float greatest) {
    __shared__ float scratch[32];
    least = block_min(least, scratch);
    greatest = block_max(greatest, scratch);
    return make_float2(least, greatest);
}

// A part for each block, of every `gridDim.x`-th run of 4 * THREADS elements.
extern "C" __global__ void ranges(const float* x, float2* parts, u32 count) {
    float least = 0.0f, greatest = 0.0f;
    for (u32 first = (blockIdx.x * THREADS + threadIdx.x) * 4; first < count; first += gridDim.x * THREADS * 4) {
        if (first + 4 <= count) {
            vec<float, 4> four = load<4>(x + first);
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                least = fminf(least, four[i]);
                greatest = fmaxf(greatest, four[i]);
            }
        } else {
            for (u32 at = first; at < count; at++) {
                least = fminf(least, x[at]);
                greatest = fmaxf(greatest, x[at]);
            }
        }
    }
    float2 range = range_of(least, greatest);
    if (threadIdx.x == 0) parts[blockIdx.x] = range;
}

INLINE u8 quantized(float x, float scale, float zero) {
    float steps = rintf(__fdiv_rn(x, scale)) + zero;
    // NaN becomes 0.
    return steps != steps ? u8(0) : u8(i32(fminf(fmaxf(steps, 0.0f), 255.0f)));
}

// `parts_count` is at most THREADS. Outputs that nobody needs point nowhere.
extern "C" __global__ void elements(const float* x, const float2* parts, u8* y, float* scale, u8* zero, u32 count, u32 parts_count) {
    float2 own = threadIdx.x < parts_count ? parts[threadIdx.x] : make_float2(0.0f, 0.0f);
    float2 range = range_of(own.x, own.y);
    float step = range.x == range.y ? 1.0f : __fdiv_rn(range.y - range.x, 255.0f);
    float origin = rintf(__fdiv_rn(-range.x, step));
    origin = origin != origin ? 0.0f : fminf(fmaxf(origin, 0.0f), 255.0f);
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        if (scale) *scale = step;
        if (zero) *zero = u8(i32(origin));
    }
    if (!y) return;
    u32 first = (blockIdx.x * THREADS + threadIdx.x) * 4;
    if (first + 4 <= count) {
        vec<float, 4> four = load<4>(x + first);
        vec<u8, 4> result;
#pragma unroll
        for (u32 i = 0; i < 4; i++) result[i] = quantized(four[i], step, origin);
        store<4>(y + first, result);
    } else {
        for (u32 at = first; at < count; at++) y[at] = quantized(x[at], step, origin);
    }
}
