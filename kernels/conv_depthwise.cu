// Convolution of one channel by each filter, of images: a thread for four neighbours of an output row. Macros: KERNEL_H, KERNEL_W, STRIDE and DILATION along
// a row, types X_T and W_T, ALONE as in conv_direct.cu.

struct Depthwise {
    u32 count;
    // Fours of an output row, output rows, all filters, filters of a channel.
    Divisor fours, rows, maps, filters;
    u32 width;
    // Of the input.
    u32 extents[2];
    u32 row_stride, row_dilation;
    u32 pads[2];
};

// Pixels of a row that four outputs meet.
#define SPAN (3 * STRIDE + (KERNEL_W - 1) * DILATION + 1)
#define TAPS (KERNEL_H * KERNEL_W)

// How many products are added to the sum at once, from product `tap` of those of a filter alone on.
INLINE constexpr int size_of(int tap) { return TAPS - tap >= 4 ? 4 : TAPS - tap >= 2 ? 2 : 1; }

extern "C" __global__ void conv_depthwise(const X_T* x, const W_T* w, Depthwise at, RESULT_PARAMETERS) {
    u32 four = blockIdx.x * blockDim.x + threadIdx.x;
    if (four >= at.count) return;
    u32 row = at.fours.divide(four);
    u32 plane = at.rows.divide(row);
    u32 map = plane;
    u32 image = at.maps.divide(map);
    u32 filter = map;
    u32 group = at.filters.divide(filter);
    u32 column = four * 4;
    const X_T* from = x + at.filters.quotient(plane) * (at.extents[0] * at.extents[1]);
    const W_T* weights = w + map * TAPS;
    // What lies before the image has wrapped around.
    u32 top = row * at.row_stride - at.pads[0], left = column * STRIDE - at.pads[1];
    float sums[4] = {}, block[4] = {};
    int held = 0, size = size_of(0);
#pragma unroll
    for (int kh = 0; kh < KERNEL_H; kh++) {
        u32 line = top + kh * at.row_dilation;
        bool inside = line < at.extents[0];
        float pixels[SPAN];
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
            u32 place = left + i;
            pixels[i] = inside && place < at.extents[1] ? float(from[line * at.extents[1] + place]) : 0.0f;
        }
#pragma unroll
        for (int kw = 0; kw < KERNEL_W; kw++) {
            float weight = float(weights[kh * KERNEL_W + kw]);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float pixel = pixels[kw * DILATION + i * STRIDE];
                if (!ALONE) sums[i] = fmaf(weight, pixel, sums[i]);
                else if (held == 0) block[i] = __fmul_rn(weight, pixel);
                else block[i] = __fadd_rn(block[i], __fmul_rn(weight, pixel));
            }
            if (ALONE && ++held == size) {
#pragma unroll
                for (int i = 0; i < 4; i++) sums[i] += block[i];
                held = 0;
                size = size_of(kh * KERNEL_W + kw + 1);
            }
        }
    }
    Part part = {};
    part.batch = group;
    Extents extents = {};
    extents.m = at.filters.divisor;
    u32 positions = at.rows.divisor * at.width;
    u32 first = image * positions + row * at.width;
    extents.n = first + at.width;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float sum[1] = {sums[i]};
        if (column + i < at.width) RESULT.put(extents, part, filter, first + column + i, sum);
    }
}
