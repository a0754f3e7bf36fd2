// Convolution with few filters in a group, a thread for each output element; also transposed. Depths are those of the table of taps.
// Macros as for images.cuh, types X_T and W_T; ALONE if a group has one filter. Sums are added in blocks, each product with one
// rounding; those of a filter that is alone by four, two and one: ONNX Runtime's order, under which quantised models were calibrated.

struct Direct {
    u32 elements, depth, block;
    // Elements of the input's channels of a group.
    u32 group;
    // Output elements of an image, all filters, and filters of a group.
    Divisor positions, maps, filters;
};

extern "C" __global__ void conv_direct(
    const X_T* __restrict__ x,
    const W_T* __restrict__ w,
    const Tap* __restrict__ taps,
    Window window,
    Direct direct,
    RESULT_PARAMETERS) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= direct.elements) return;
    u32 image = direct.positions.divide(index);
    u32 position = index;
    u32 map = image;
    image = direct.maps.divide(map);
    u32 filter = map;
    u32 group = direct.filters.divide(filter);
    Images<X_T> images = {x + group * direct.group, taps, window};
    u32 column = image * direct.positions.divisor + position;
    Images<X_T>::Line line = images.line(column);
    const W_T* weights = w + map * direct.depth;
    float sum = 0.0f;
    for (u32 first = 0; first < direct.depth;) {
        u32 left = direct.depth - first;
        u32 size = ALONE ? (left >= 4 ? 4 : left >= 2 ? 2 : 1) : min(direct.block, left);
        float block = 0.0f;
        for (u32 depth = first; depth < first + size; depth++) {
            bool inside;
            const X_T* from = images.find(line, depth, 0, inside);
            float value = inside ? float(*from) : 0.0f;
            float weight = float(weights[depth]);
            if (!ALONE) block = fmaf(weight, value, block);
            else block = depth == first ? __fmul_rn(weight, value) : __fadd_rn(block, __fmul_rn(weight, value));
        }
        sum += block;
        first += size;
    }
    float sums[1] = {sum};
    Part part = {};
    part.batch = group;
    Extents extents = {};
    extents.m = direct.filters.divisor;
    extents.n = column + 1;
    RESULT.put(extents, part, filter, column, sums);
}
