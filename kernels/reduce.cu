// Reductions over any axes. An element x is taken as a number of type E, of which ELEMENT(x) makes a TOTAL; JOIN(a, b) makes one of two,
// NEUTRAL changes nothing; FINISH(total, count) is the result of `count` elements. With PARTS the elements of a row are shared out in parts, and
// the totals of these are the results.

#define INT_LEAST (-9223372036854775807ll - 1)

// The logarithm of a sum of exponentials so far: of the greatest, and the sum of all taken from it.
struct Exponentials {
    float greatest;
    float sum;
};

INLINE Exponentials joined(Exponentials a, Exponentials b) {
    float greatest = expressions::maximum(a.greatest, b.greatest);
    float left = a.greatest == greatest ? a.sum : a.sum * expf(a.greatest - greatest);
    float right = b.greatest == greatest ? b.sum : b.sum * expf(b.greatest - greatest);
    return {greatest, left + right};
}

// Any number beats NaN.
INLINE float greatest_number(float a, float b) { return fmaxf(a, b); }

struct Joined {
    INLINE TOTAL operator()(TOTAL a, TOTAL b) const { return JOIN(a, b); }
};

INLINE TOTAL element(E x) { return ELEMENT(x); }

#if PARTS
#define RESULT(total) total
#else
#define RESULT(total) Y(FINISH(total, count))
#endif

#if COLUMNS
// Rows whose elements lie apart, WIDTH neighbours of them by each thread. Results of part p lie after all those of the parts before.
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    reduce_axes(const X* __restrict__ x, Y* __restrict__ y, u32 rows, u32 count, Loops<KEPT, 1> kept, Loops<REDUCED, 1> reduced, u32 span) {
    u32 row = own_row();
    bool exists = row < rows;
    u32 at[1];
    kept.walk((exists ? row : rows - 1) * WIDTH, at);
    x += at[0];
    u32 begin = PARTS ? blockIdx.y * span : 0;
    u32 end = PARTS ? min(begin + span, count) : count;
    TOTAL totals[WIDTH];
#pragma unroll
    for (u32 j = 0; j < WIDTH; j++) totals[j] = NEUTRAL;
    auto take = [&](const E (&numbers)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) totals[j] = Joined()(totals[j], element(numbers[j]));
    };
    auto read = [&](u32 i, E (&numbers)[WIDTH]) {
        u32 step[1];
        reduced.walk(i, step);
        load_pack(x + step[0], numbers);
    };
    u32 i = begin + own_lane();
    for (; i + (AHEAD - 1) * LANES < end; i += AHEAD * LANES) {
        E numbers[AHEAD][WIDTH];
#pragma unroll
        for (u32 k = 0; k < AHEAD; k++) read(i + k * LANES, numbers[k]);
#pragma unroll
        for (u32 k = 0; k < AHEAD; k++) take(numbers[k]);
    }
    for (; i < end; i += LANES) {
        E numbers[WIDTH];
        read(i, numbers);
        take(numbers);
    }
    vec<Y, WIDTH> results;
#pragma unroll
    for (u32 j = 0; j < WIDTH; j++) results[j] = RESULT(join_row(totals[j], Joined()));
    if (exists && own_lane() == 0) store<WIDTH>(y + ((PARTS ? blockIdx.y * rows : 0) + row) * WIDTH, results);
}
#elif FINISHING
// Totals of parts, which lie `step` apart.
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    finish(const TOTAL* __restrict__ totals, Y* __restrict__ y, u32 rows, u32 parts, u32 step, u32 count) {
    u32 row = own_row();
    bool exists = row < rows;
    u32 start = (exists ? row : rows - 1) * (step == 1 ? parts : 1);
    TOTAL total = NEUTRAL;
    for (u32 i = own_lane(); i < parts; i += LANES) total = Joined()(total, totals[start + i * step]);
    total = join_row(total, Joined());
    if (exists && own_lane() == 0) y[row] = Y(FINISH(total, count));
}
#else
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS)
    reduce_axes(const X* __restrict__ x, Y* __restrict__ y, u32 rows, u32 count, Loops<KEPT, 1> kept, Loops<REDUCED, 1> reduced, u32 span) {
    u32 row = own_row();
    bool exists = row < rows;
    u32 at[1];
    kept.walk(exists ? row : rows - 1, at);
    x += at[0];
    u32 begin = PARTS ? blockIdx.y * span : 0;
    auto load = [&](u32 first, E (&numbers)[WIDTH]) {
        u32 step[1];
        reduced.walk(begin + first, step);
        load_pack(x + step[0], numbers);
    };
    Part<E> part(PARTS ? min(span, count - begin) : count, load);
    TOTAL total = NEUTRAL;
    part.each(load, [&](u32, E (&numbers)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) total = Joined()(total, element(numbers[j]));
    });
    total = join_row(total, Joined());
    if (exists && own_lane() == 0) y[PARTS ? row * gridDim.y + blockIdx.y : row] = RESULT(total);
}
#endif
