// Samples of an image at places that a grid gives: a thread for each element of the output. X is the image's type, NUMBER what is summed.

#define NEAREST 0
#define LINEAR 1
#define CUBIC 2
#define ZEROS 0
#define BORDER 1
#define REFLECTION 2

// Elements of the output; places of an image; channels; elements of a plane, and the extents of its axes.
struct Images {
    u32 count;
    u32 places;
    u32 channels;
    u32 plane;
    u32 extents[AXES];
};

// The element at `index` of an axis; -1 for a zero.
INLINE i32 element(i32 index, i32 extent) {
    if (index >= 0 && index < extent) return index;
#if PADDING == BORDER
    return index < 0 ? 0 : extent - 1;
#elif PADDING == REFLECTION
    // Mirrored at the middles an image repeats after 2 (n - 1) elements, at the edges after 2 n.
    i32 period = ALIGN_CORNERS ? 2 * (extent - 1) : 2 * extent;
    if (period == 0) return 0;
    i32 place = index % period;
    if (place < 0) place += period;
    return place < extent ? place : period - (ALIGN_CORNERS ? 0 : 1) - place;
#else
    return -1;
#endif
}

// Cubic convolution of coefficient -0.75.
INLINE float cubic(float distance) {
    float d = fabsf(distance);
    if (d <= 1.0f) return (1.25f * d - 2.25f) * d * d + 1.0f;
    return ((-0.75f * d + 3.75f) * d - 6.0f) * d + 3.0f;
}

INLINE float weight_of(u32 tap, float ratio) {
    if (MODE == CUBIC) return cubic(ratio + 1.0f - float(tap));
    if (MODE == LINEAR) return tap == 1 ? ratio : 1.0f - ratio;
    return 1.0f;
}

extern "C" __global__ void grid_sample(const X* x, const GRID* grid, X* y, Images images) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= images.count) return;
    u32 plane = at / images.places;
    u32 place = plane / images.channels * images.places + (at - plane * images.places);
    i32 first[AXES];
    float ratio[AXES];
#pragma unroll
    for (u32 axis = 0; axis < AXES; axis++) {
        // The grid has the last axis first.
        float normal = float(grid[place * AXES + AXES - 1 - axis]), extent = float(images.extents[axis]);
        float exact = ALIGN_CORNERS ? (normal + 1.0f) / 2.0f * (extent - 1.0f) : ((normal + 1.0f) * extent - 1.0f) / 2.0f;
        // Beyond this, floats no longer tell elements apart.
        exact = exact != exact ? -1e9f : fminf(fmaxf(exact, -1e9f), 1e9f);
        float left = floorf(exact);
        first[axis] = MODE == NEAREST ? i32(rintf(exact)) : i32(left) - (MODE == CUBIC ? 1 : 0);
        ratio[axis] = exact - left;
    }
    NUMBER total = NUMBER(0);
    for (u32 tap = 0; tap < ALL_TAPS; tap++) {
        u32 rest = tap, offset = 0;
        float weight = 1.0f;
        bool inside = true;
#pragma unroll
        for (u32 axis = 0; axis < AXES; axis++) {
            u32 own = rest % TAPS;
            rest /= TAPS;
            i32 found = element(first[axis] + i32(own), i32(images.extents[axis]));
            inside = inside && found >= 0;
            offset = offset * images.extents[axis] + u32(found < 0 ? 0 : found);
            weight *= weight_of(own, ratio[axis]);
        }
        if (!inside) continue;
        NUMBER value = NUMBER(x[plane * images.plane + offset]);
        if (MODE == NEAREST) total = value;
        else total += NUMBER(weight) * value;
    }
    y[at] = X(total);
}
