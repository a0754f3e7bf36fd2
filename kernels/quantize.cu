// Quantisation and its inverse, WIDTH elements of each thread. X is read, Y written; SCALE is the scales' type, NARROW that of the integers,
// between LEAST and GREATEST; P is the type in which is divided.

#define BY_TENSOR 0
#define BY_AXIS 1
#define BY_BLOCKS 2

struct Places {
    // Elements between neighbours of the axis, extent of the axis, blocks of the axis, elements of a block.
    u32 inner;
    u32 extent;
    u32 blocks;
    u32 size;

    // Where an element's scale stands.
    __device__ u32 of(u32 at) const {
        if (GRANULARITY == BY_TENSOR) return 0;
        u32 row = at / inner, outer = row / extent, along = row - outer * extent;
        if (GRANULARITY == BY_AXIS) return along;
        return (outer * blocks + along / size) * inner + (at - row * inner);
    }
};

INLINE Y converted(X given, float scale, NARROW zero) {
#if DEQUANTIZE
    return Y(DIFFERENCE(DIFFERENCE(given) - DIFFERENCE(zero)) * DIFFERENCE(scale));
#else
    float steps = rintf(float(P(__fdiv_rn(float(P(float(given))), float(P(scale)))))) + float(zero);
    // NaN becomes 0.
    return steps != steps ? Y(0) : Y(i32(fminf(fmaxf(steps, LEAST), GREATEST)));
#endif
}

extern "C" __global__ void quantize(const X* x, const SCALE* scales, const NARROW* zeros, Y* y, u32 count, Places places) {
    u32 first = (blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (first >= count) return;
    u32 place = places.of(first);
    float scale = float(scales[place]);
    NARROW zero = zeros ? zeros[place] : NARROW(0);
    if (first + WIDTH <= count) {
        vec<X, WIDTH> given = load<WIDTH>(x + first);
        vec<Y, WIDTH> result;
#pragma unroll
        for (u32 i = 0; i < WIDTH; i++) {
            if (GRANULARITY != BY_TENSOR && i > 0) {
                u32 next = places.of(first + i);
                if (next != place) {
                    place = next;
                    scale = float(scales[place]);
                    zero = zeros ? zeros[place] : NARROW(0);
                }
            }
            result[i] = converted(given[i], scale, zero);
        }
        store<WIDTH>(y + first, result);
    } else {
        for (u32 at = first; at < count; at++) {
            place = places.of(at);
            y[at] = converted(x[at], float(scales[place]), zeros ? zeros[place] : NARROW(0));
        }
    }
}
