// Filters that are no constants, in the order in which a product reads them: rows of depths, by channel and tap, or by tap and channel
// if BY_TAPS; depths beyond the last are zero. W_T is their type.

struct Filters {
    u32 count;
    // Depths of a row with those beyond the last; filters of a group; taps or channels, whichever go faster.
    Divisor width, filters, inner;
    u32 depth;
    // Steps from one group, filter, channel and tap to the next.
    u32 group, filter, channel, tap;
};

extern "C" __global__ void filters(const W_T* from, W_T* to, Filters filters) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= filters.count) return;
    u32 depth = index;
    u32 filter = filters.width.divide(depth);
    u32 group = filters.filters.divide(filter);
    u32 inner = depth;
    u32 outer = filters.inner.divide(inner);
    u32 tap = BY_TAPS ? outer : inner, channel = BY_TAPS ? inner : outer;
    u32 at = group * filters.group + filter * filters.filter + channel * filters.channel + tap * filters.tap;
    to[index] = depth < filters.depth ? from[at] : W_T(0.0f);
}
