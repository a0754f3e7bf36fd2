// Padding. T has as many bytes as are copied at once.

#define CONSTANT 0
#define REFLECT 1
#define EDGE 2
#define WRAP 3

// An axis: extent of the output, distance of the data's neighbours; new places before the first element that is left, elements taken away
// before it, elements that are left.
struct Axis {
    u32 extent;
    u32 stride;
    i32 before;
    i32 cut;
    i32 left;
};

// From the innermost axis outwards.
struct Axes {
    Axis at[AXES];
};

INLINE i32 rest_of(i32 x, i32 y) {
    i32 rest = x % y;
    return rest < 0 ? rest + y : rest;
}

// Where the element comes from that stands `at` places after the first one of an axis of `extent`; outside of it, for the constant.
INLINE i32 source(i32 at, i32 extent) {
    if (at >= 0 && at < extent) return at;
#if MODE == EDGE
    return at < 0 ? 0 : extent - 1;
#elif MODE == WRAP
    return rest_of(at, extent);
#elif MODE == REFLECT
    if (extent == 1) return 0;
    i32 folded = rest_of(at, 2 * extent - 2);
    return min(folded, 2 * extent - 2 - folded);
#else
    return at;
#endif
}

extern "C" __global__ void pad(const T* x, T* y, FILL fill, u32 count, Axes axes) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    u32 rest = index, from = 0;
    bool inside = true;
#pragma unroll
    for (u32 i = 0; i < AXES; i++) {
        const Axis& axis = axes.at[i];
        u32 outer = rest / axis.extent;
        i32 place = source(i32(rest - outer * axis.extent) - axis.before, axis.left);
        rest = outer;
        inside = inside && place >= 0 && place < axis.left;
        from += u32(place + axis.cut) * axis.stride;
    }
#if GIVEN
    T value = fill[0];
#else
    T value = fill;
#endif
    if (inside) value = x[from];
    y[index] = value;
}
