// Convolution of one channel by each filter, of images: a thread for ROWS outputs below each other, so that warps read neighbours.
// Macros: KERNEL_H, KERNEL_W, STRIDE and DILATION along a column, types X_T and W_T, ALONE as in conv_direct.cu.

struct Depthwise {
    u32 count;
    // Columns of the output, its rows by as many as a thread takes, all filters, filters of a channel.
    Divisor columns, bands, maps, filters;
    u32 rows;
    // Of the input.
    u32 extents[2];
    u32 column_stride, column_dilation;
    u32 pads[2];
};

// Rows of the input that a thread meets.
#define SPAN ((ROWS - 1) * STRIDE + (KERNEL_H - 1) * DILATION + 1)
#define TAPS (KERNEL_H * KERNEL_W)

// How many products of a filter alone are added to the sum at once, from product `tap` on.
INLINE constexpr int size_of(int tap) { return TAPS - tap >= 4 ? 4 : TAPS - tap >= 2 ? 2 : 1; }

extern "C" __global__ void conv_depthwise(
    const X_T* __restrict__ x, const W_T* __restrict__ w, Depthwise at, RESULT_PARAMETERS) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= at.count) return;
    u32 column = index;
    u32 band = at.columns.divide(column);
    u32 plane = at.bands.divide(band);
    u32 map = plane;
    u32 image = at.maps.divide(map);
    u32 filter = map;
    u32 group = at.filters.divide(filter);
    u32 row = band * ROWS;
    const X_T* from = x + at.filters.quotient(plane) * (at.extents[0] * at.extents[1]);
    const W_T* weights = w + map * TAPS;
    // What lies before the image has wrapped around.
    u32 top = row * STRIDE - at.pads[0], left = column * at.column_stride - at.pads[1];
    float pixels[SPAN][KERNEL_W];
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        u32 line = top + i;
        bool inside = line < at.extents[0];
#pragma unroll
        for (int j = 0; j < KERNEL_W; j++) {
            u32 place = left + j * at.column_dilation;
            pixels[i][j] = inside && place < at.extents[1] ? float(from[line * at.extents[1] + place]) : 0.0f;
        }
    }
    float sums[ROWS] = {}, block[ROWS] = {};
    int held = 0, size = size_of(0);
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
        float weight = float(weights[tap]);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            float pixel = pixels[i * STRIDE + tap / KERNEL_W * DILATION][tap % KERNEL_W];
            if (!ALONE) sums[i] = fmaf(weight, pixel, sums[i]);
            else if (held == 0) block[i] = __fmul_rn(weight, pixel);
            else block[i] = __fadd_rn(block[i], __fmul_rn(weight, pixel));
        }
        if (ALONE && ++held == size) {
#pragma unroll
            for (int i = 0; i < ROWS; i++) sums[i] += block[i];
            held = 0;
            size = size_of(tap + 1);
        }
    }
    Part part = {};
    part.batch = group;
    Extents extents = {};
    extents.m = at.filters.divisor;
    extents.n = 0xffffffffu;
    u32 width = at.columns.divisor;
    u32 first = (image * at.rows + row) * width + column;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        float sum[1] = {sums[i]};
        if (row + i < at.rows) RESULT.put(extents, part, filter, first + i * width, sum);
    }
}
