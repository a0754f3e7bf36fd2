// Local response normalisation: `plane` elements of a channel lie side by side. Neighbours of a channel are `before` ones, itself, and those up
// to `after` further on. POWER(x) is x to the power beta.

extern "C" __global__ void __launch_bounds__(256)
    lrn(const X* __restrict__ x, Y* __restrict__ y, u32 count, u32 plane, u32 channels, u32 before, u32 after, float alpha, float beta,
        float bias) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    u32 channel = at / plane % channels;
    u32 image = at - channel * plane;
    u32 first = channel - min(channel, before), end = min(channel + after, channels);
    float sum = 0.0f;
#pragma unroll 4
    for (u32 c = first; c < end; c++) {
        float value = float(x[image + c * plane]);
        sum = fmaf(value, value, sum);
    }
    float base = fmaf(alpha, sum, bias);
    y[at] = Y(float(x[at]) / (POWER(base)));
}
