// The index of the GREATEST (or least) element of each row of `extent` elements that lie `step` apart: of equals the first, or the LAST. NaN is the
// greatest, and the least.

struct Best {
    E value;
    u32 index;
};

struct Better {
    INLINE Best operator()(Best a, Best b) const {
        bool a_nan = a.value != a.value, b_nan = b.value != b.value;
        bool beyond = GREATEST ? b.value > a.value : b.value < a.value;
        bool wins = a_nan != b_nan ? b_nan : beyond;
        if (a.value == b.value || (a_nan && b_nan)) wins = LAST ? b.index > a.index : b.index < a.index;
        return wins ? b : a;
    }
};

extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    arg_max(const X* __restrict__ x, i64* __restrict__ y, u32 rows, u32 extent, u32 step) {
    u32 row = own_row();
    bool exists = row < rows;
    u32 source = exists ? row : rows - 1;
    u32 start = source / step * extent * step + source % step;
    auto load = [&](u32 first, E (&values)[WIDTH]) { load_pack(x + (start + first * step), values); };
    Part<E> part(extent, load);
    // A lane that has none takes the first, as another one does anyway.
    Best best;
    best.value = E(x[start]);
    best.index = 0;
    part.each(load, [&](u32 first, E (&values)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) {
            Best other;
            other.value = values[j];
            other.index = first + j;
            best = Better()(best, other);
        }
    });
    best = join_row(best, Better());
    if (exists && own_lane() == 0) y[row] = best.index;
}
