// Rows that are reduced: each by LANES threads, of which each takes every LANES-th pack of WIDTH elements; blocks have ROWS rows. Rows whose
// elements lie APART are taken by threads that are neighbours, others by neighbouring threads. HELD packs of a lane stay in its registers;
// if that is 0, they do not fit, and are loaded as often as they are needed.

#define THREADS_OF_ROWS (LANES * ROWS)

// Packs that a thread reads before it uses the first of them.
#define AHEAD (WIDTH < 4 ? 8u : 4u)

#if APART
INLINE u32 row_of_block() { return threadIdx.x % ROWS; }
INLINE u32 own_lane() { return threadIdx.x / ROWS; }
#else
INLINE u32 row_of_block() { return threadIdx.x / LANES; }
INLINE u32 own_lane() { return threadIdx.x % LANES; }
#endif

INLINE u32 own_row() { return blockIdx.x * ROWS + row_of_block(); }

INLINE float infinity() { return __uint_as_float(0x7f800000u); }

// What another lane of the warp has, word by word.
template <class Value> INLINE Value of_lane(Value value, u32 step) {
    union Words {
        Value value;
        u32 words[sizeof(Value) / 4];
        __device__ Words() {}
    } all;
    all.value = value;
#pragma unroll
    for (u32 i = 0; i < sizeof(Value) / 4; i++) all.words[i] = __shfl_xor_sync(FULL, all.words[i], step);
    return all.value;
}

// What all lanes of a row have, joined; all lanes of the row get it. Every thread of the block takes part. Values are of 4, 8 or 16 bytes.
template <class Value, class Join> INLINE Value join_row(Value value, Join join) {
#if LANES > 1 && APART
    __shared__ Value parts[LANES * ROWS];
    __syncthreads();
    parts[threadIdx.x] = value;
    __syncthreads();
    for (u32 half = LANES / 2; half > 0; half /= 2) {
        if (own_lane() < half) parts[threadIdx.x] = join(parts[threadIdx.x], parts[threadIdx.x + half * ROWS]);
        __syncthreads();
    }
    value = parts[row_of_block()];
#elif LANES > 1
#pragma unroll
    for (u32 step = (LANES < 32 ? LANES : 32) / 2; step > 0; step /= 2) value = join(value, of_lane(value, step));
#if LANES > 32
    const u32 warps_of_row = LANES / 32;
    __shared__ Value warps[LANES * ROWS / 32];
    __syncthreads();
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();
    value = warps[row_of_block() * warps_of_row + threadIdx.x % warps_of_row];
#pragma unroll
    for (u32 step = warps_of_row / 2; step > 0; step /= 2) value = join(value, of_lane(value, step));
#endif
#endif
    return value;
}

struct Add {
    template <class Value> __device__ Value operator()(Value a, Value b) const { return a + b; }
};
struct Greatest {
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
    __device__ i32 operator()(i32 a, i32 b) const { return a < b ? b : a; }
};

template <class Value> INLINE Value sum_of(Value value) { return join_row(value, Add()); }
template <class Value> INLINE Value greatest_of(Value value) { return join_row(value, Greatest()); }

// Elements side by side, which are read together.
template <class Number, class Element> INLINE void load_pack(const Element* from, Number (&values)[WIDTH]) {
    vec<Element, WIDTH> pack = load<WIDTH>(from);
#pragma unroll
    for (u32 j = 0; j < WIDTH; j++) values[j] = Number(pack[j]);
}

// Numbers that become elements, and are written together.
template <class Element, class Number> INLINE void store_pack(Element* to, const Number (&values)[WIDTH]) {
    vec<Element, WIDTH> pack;
#pragma unroll
    for (u32 j = 0; j < WIDTH; j++) pack[j] = Element(values[j]);
    store<WIDTH>(to, pack);
}

// A lane's elements of a row of `extent`, as numbers. `load` fills in the pack that begins with an element of this number.
template <class Number> struct Part {
    u32 extent;
#if HELD
    Number held[HELD][WIDTH];
#endif

    template <class Load> INLINE Part(u32 extent, const Load& load) : extent(extent) {
#if HELD
        if (extent == 0) return;
        // A lane with nothing left reads the last pack too: without branches all are on their way at once.
#pragma unroll
        for (u32 k = 0; k < HELD; k++) load(min((k * LANES + own_lane()) * WIDTH, extent - WIDTH), held[k]);
#endif
    }

    // Visits all packs: `visit(first, numbers)`. What it changes lasts if packs are held.
    template <class Load, class Visit> INLINE void each(const Load& load, const Visit& visit) {
#if HELD
#pragma unroll
        for (u32 k = 0; k < HELD; k++) {
            u32 first = (k * LANES + own_lane()) * WIDTH;
            if (first < extent) visit(first, held[k]);
        }
#else
        const u32 step = LANES * WIDTH;
        u32 first = own_lane() * WIDTH;
        // Several packs are on their way at once.
        for (; first + (AHEAD - 1) * step < extent; first += AHEAD * step) {
            Number numbers[AHEAD][WIDTH];
#pragma unroll
            for (u32 k = 0; k < AHEAD; k++) load(first + k * step, numbers[k]);
#pragma unroll
            for (u32 k = 0; k < AHEAD; k++) visit(first + k * step, numbers[k]);
        }
        for (; first < extent; first += step) {
            Number numbers[WIDTH];
            load(first, numbers);
            visit(first, numbers);
        }
#endif
    }
};
