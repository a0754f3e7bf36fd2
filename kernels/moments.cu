// Normalisation of rows of `extent` elements side by side. PARAMETERS are pointers and numbers, of which LOADS makes `values`, the elements
// before they are normalised, and SCALES and SHIFTS make `scales` and `shifts`; these statements are for the pack of elements from `first` of
// `row` on, the tensor's element `at`. CENTRED: the mean is subtracted. Statistics are found in two goes over what is held, and by merging
// those of parts otherwise (T. Chan, G. Golub, R. LeVeque, Updating formulae and a pairwise algorithm for computing sample variances).

// Of some elements: how many, their mean (0 if that is not subtracted), and the sum of the squares of their distances from it.
struct Moments {
    float count;
    float mean;
    float squares;
    float nothing;
};

struct JoinMoments {
    INLINE Moments operator()(Moments a, Moments b) const {
        float count = a.count + b.count;
        if (count == 0.0f) return a;
        float distance = b.mean - a.mean;
        float part = b.count / count;
        return {count, a.mean + distance * part, a.squares + b.squares + distance * distance * (a.count * part), 0.0f};
    }
};

// Those of a row's part that a thread has.
template <class Load> INLINE Moments merged(Part<float>& part, const Load& load) {
    Moments total = {0.0f, 0.0f, 0.0f, 0.0f};
    part.each(load, [&](u32, float (&values)[WIDTH]) {
        Moments pack = {float(WIDTH), 0.0f, 0.0f, 0.0f};
        if (CENTRED) {
#pragma unroll
            for (u32 j = 0; j < WIDTH; j++) pack.mean += values[j];
            pack.mean *= 1.0f / WIDTH;
        }
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) {
            float distance = values[j] - pack.mean;
            pack.squares = fmaf(distance, distance, pack.squares);
        }
        if (CENTRED) {
            total = JoinMoments()(total, pack);
        } else {
            total.count += WIDTH;
            total.squares += pack.squares;
        }
    });
    return total;
}

INLINE void each_of(float (&to)[WIDTH], float value) {
#pragma unroll
    for (u32 j = 0; j < WIDTH; j++) to[j] = value;
}

INLINE void add_pack(float (&to)[WIDTH], const float (&values)[WIDTH]) {
#pragma unroll
    for (u32 j = 0; j < WIDTH; j++) to[j] += values[j];
}

#if TOTALS
#define PLACE_OF_ROW \
    u32 row = blockIdx.x / parts, begin = blockIdx.x % parts * span; \
    u32 length = min(span, extent - begin); \
    bool exists = true;
#define MORE_PARAMETERS u32 extent, float epsilon, Moments* __restrict__ totals, u32 parts, u32 span
#else
// A row too many does the last one's work again, but writes nothing: all threads meet at the barriers.
#define PLACE_OF_ROW \
    u32 row = min(own_row(), rows - 1), begin = 0, length = extent; \
    bool exists = own_row() < rows;
#define MORE_PARAMETERS u32 extent, float epsilon, u32 rows
#endif

#define PREPARE \
    PLACE_OF_ROW \
    auto load = [&](u32 place, float (&values)[WIDTH]) { \
        u32 first = begin + place, at = row * extent + first; \
        LOADS \
    }; \
    Part<float> part(length, load);

#if TOTALS == 1
// A few long rows in `parts` parts of `span` elements: first the statistics of each.
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS) moments(PARAMETERS, MORE_PARAMETERS) {
    PREPARE
    Moments total = join_row(merged(part, load), JoinMoments());
    if (threadIdx.x == 0) totals[blockIdx.x] = total;
}
#else
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS) moments(PARAMETERS, MORE_PARAMETERS) {
    PREPARE
#if TOTALS
    // Rows have no more parts than blocks have threads.
    Moments total = {0.0f, 0.0f, 0.0f, 0.0f};
    if (threadIdx.x < parts) total = totals[row * parts + threadIdx.x];
    total = join_row(total, JoinMoments());
    float mean = total.mean, squares = total.squares;
#elif HELD
    float mean = 0.0f, squares = 0.0f;
    if (CENTRED) {
        part.each(load, [&](u32, float (&values)[WIDTH]) {
#pragma unroll
            for (u32 j = 0; j < WIDTH; j++) mean += values[j];
        });
        mean = sum_of(mean) / float(extent);
    }
    part.each(load, [&](u32, float (&values)[WIDTH]) {
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) {
            float distance = values[j] - mean;
            squares = fmaf(distance, distance, squares);
        }
    });
    squares = sum_of(squares);
#else
    Moments total = join_row(merged(part, load), JoinMoments());
    float mean = total.mean, squares = total.squares;
#endif
    float inverse = 1.0f / sqrtf(squares / float(extent) + epsilon);
    if (!exists) return;
#if MEANS
    if (begin == 0 && own_lane() == 0) means[row] = mean;
#endif
#if INVERSES
    if (begin == 0 && own_lane() == 0) inverses[row] = inverse;
#endif
    part.each(load, [&](u32 place, float (&values)[WIDTH]) {
        u32 first = begin + place, at = row * extent + first;
        float scales[WIDTH], shifts[WIDTH];
        SCALES
        SHIFTS
#if SUMS
        store_pack(sums + at, values);
#endif
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) values[j] = fmaf((values[j] - mean) * inverse, scales[j], shifts[j]);
        store_pack(y + at, values);
    });
}
#endif
