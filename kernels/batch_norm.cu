// Batch normalisation by given moments: WIDTH elements of each thread, which share a channel if they are ALIKE. Elements that share one lie side
// by side, `plane` of them.

extern "C" __global__ void __launch_bounds__(256)
    batch_norm(const X* __restrict__ x, const S* __restrict__ scale, const S* __restrict__ bias, const M* __restrict__ mean,
               const M* __restrict__ variance, Y* __restrict__ y, u32 count, u32 plane, u32 channels, float epsilon) {
    u32 at = (blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (at >= count) return;
    vec<X, WIDTH> pack = load<WIDTH>(x + at);
    vec<Y, WIDTH> results;
    u32 channel = at / plane % channels;
    float factor = float(scale[channel]) / sqrtf(float(variance[channel]) + epsilon);
    float middle = float(mean[channel]), shift = float(bias[channel]);
#pragma unroll
    for (u32 j = 0; j < WIDTH; j++) {
        if (!ALIKE && j > 0) {
            channel = (at + j) / plane % channels;
            factor = float(scale[channel]) / sqrtf(float(variance[channel]) + epsilon);
            middle = float(mean[channel]);
            shift = float(bias[channel]);
        }
        results[j] = Y(fmaf(float(pack[j]) - middle, factor, shift));
    }
    store<WIDTH>(y + at, results);
}
