// Convolution of planar images of 8-bit integers. Rows are the filters of a group, columns the pixels of an image, depth goes through (channel,
// kh, kw); what lies outside the image is the zero point. EXTRA are parameters of what is done to a `sum` of a filter `row` that goes to `at`,
// which is EPILOGUE.

struct Images {
    // Filters of a group, pixels, depth, groups.
    u32 filters;
    u32 pixels;
    u32 depth;
    u32 groups;
    // Of height and width.
    u32 input[2];
    u32 kernel[2];
    u32 strides[2];
    u32 dilations[2];
    u32 pads[2];
    u32 output_width;
    // Of the output.
    u32 elements;
    u32 column_tiles;
    u32 row_tiles;
    u32 w_flip;
    u32 x_flip;
    Zeros w_zeros;
    Zeros x_zeros;
};

#if DIRECT
// A thread for each element of the output.
extern "C" __global__ void integer_conv_direct(const u8* x, const u8* w, const u8* w_zeros, const u8* x_zeros, Y* output, Images p EXTRA) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= p.elements) return;
    u32 pixel = at % p.pixels, plane = at / p.pixels, row = plane % (p.filters * p.groups), batch = plane / p.filters;
    u32 channels = p.depth / (p.kernel[0] * p.kernel[1]);
    u32 top = pixel / p.output_width * p.strides[0] - p.pads[0], left = pixel % p.output_width * p.strides[1] - p.pads[1];
    i32 w_zero = p.w_zeros.of(w_zeros, row), x_zero = p.x_zeros.of(x_zeros, 0);
    u32 total = 0, w_at = row * p.depth;
    for (u32 channel = 0; channel < channels; channel++) {
        u32 image = (batch * channels + channel) * p.input[0] * p.input[1];
        for (u32 kh = 0; kh < p.kernel[0]; kh++) {
            u32 ih = top + kh * p.dilations[0];
            for (u32 kw = 0; kw < p.kernel[1]; kw++, w_at++) {
                u32 iw = left + kw * p.dilations[1];
                // What lies before the image has wrapped around.
                if (ih >= p.input[0] || iw >= p.input[1]) continue;
                i32 weight = i32(i8(flipped(w[w_at], p.w_flip))) - w_zero;
                i32 value = i32(i8(flipped(x[image + ih * p.input[1] + iw], p.x_flip))) - x_zero;
                total += u32(weight * value);
            }
        }
    }
    i32 sum = i32(total);
    EPILOGUE;
}
#else
// `w` stands there as it is, or packed: a line of words for each filter. `known` are sums of such lines, if they are needed.
extern "C" __global__ void integer_conv(const u8* x, const u8* w, const i32* known, const u8* w_zeros, const u8* x_zeros, Y* output, Images p EXTRA) {
    u32 batch = blockIdx.x / p.column_tiles / p.row_tiles;
    u32 first_row = blockIdx.x / p.column_tiles % p.row_tiles * TILE_M, first_column = blockIdx.x % p.column_tiles * TILE_N;
    u32 words = (p.depth + 3) / 4, taps = p.kernel[0] * p.kernel[1], plane = p.input[0] * p.input[1];
    u32 first_filter = batch % p.groups * p.filters;
    x += batch * (p.depth / taps) * plane;
    i32 x_zero = p.x_zeros.of(x_zeros, 0);
    auto load_w = [&](u32 row, u32 word) {
        if (PACKED) return ((const u32*)w)[(first_filter + row) * words + word];
        u32 packed = 0, count = min(4u, p.depth - 4 * word), start = (first_filter + row) * p.depth + 4 * word;
        for (u32 i = 0; i < count; i++) packed |= flipped(w[start + i], p.w_flip) << (8 * i);
        return packed;
    };
    auto load_x = [&](u32 word, u32 column) {
        u32 packed = 0, count = min(4u, p.depth - 4 * word);
#if POINTWISE
        u32 at = 4 * word * plane + column;
        for (u32 i = 0; i < count; i++, at += plane) packed |= flipped(x[at], p.x_flip) << (8 * i);
#else
        u32 top = column / p.output_width * p.strides[0] - p.pads[0], left = column % p.output_width * p.strides[1] - p.pads[1];
        u32 channel = 4 * word / taps, tap = 4 * word - channel * taps, kh = tap / p.kernel[1], kw = tap - kh * p.kernel[1];
        for (u32 i = 0; i < count; i++) {
            u32 ih = top + kh * p.dilations[0], iw = left + kw * p.dilations[1];
            // What lies before the image has wrapped around.
            bool inside = ih < p.input[0] && iw < p.input[1];
            u32 value = inside ? flipped(x[channel * plane + ih * p.input[1] + iw], p.x_flip) : u32(x_zero) & 0xffu;
            packed |= value << (8 * i);
            if (++kw == p.kernel[1]) {
                kw = 0;
                kh++;
            }
            if (kh == p.kernel[0]) {
                kh = 0;
                channel++;
            }
        }
#endif
        return packed;
    };
    auto take = [&](u32 filter, u32 pixel, i32 product, i32 w_sum, i32 x_sum) {
        u32 row = first_filter + filter;
        if (known) w_sum = known[row];
        i32 sum = centred(product, p.w_zeros.of(w_zeros, row), w_sum, x_zero, x_sum, p.depth);
        u32 at = (batch * p.filters + filter) * p.pixels + pixel;
        EPILOGUE;
    };
    integer_tile(first_row, first_column, p.filters, p.pixels, words, load_w, load_x, take);
}
#endif
