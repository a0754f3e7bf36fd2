// A block's sums by fused multiply-adds: THREADS_ACROSS x THREADS_DOWN threads, each with ROWS x COLUMNS of them, multiples of four
// unless the factor is read by depth. Warps have 8 x 4 threads, so that few of them read different places of a tile.

#define ROWS (BLOCK_M / THREADS_DOWN)
#define COLUMNS (BLOCK_N / THREADS_ACROSS)

// A thread's elements of a factor at four depths.
template <class T, class Own, bool BY_DEPTH, int COUNT, int ALONG> struct Fragment {
    float at[4][COUNT];

    // Those that lie side by side in a tile are side by side in a thread; else neighbours have them, whose rows are in different
    // banks.
    static INLINE u32 place(u32 thread, int i) {
        return BY_DEPTH ? thread + ALONG * i : i / 4 * (4 * ALONG) + thread * 4 + i % 4;
    }

    INLINE void load(const T* tile, u32 thread, int depth) {
        if (BY_DEPTH) {
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                vec<T, 4> four = *(const vec<T, 4>*)(tile + Own::at(place(thread, i), depth));
#pragma unroll
                for (int d = 0; d < 4; d++) at[d][i] = float(four.at[d]);
            }
        } else {
#pragma unroll
            for (int d = 0; d < 4; d++) {
#pragma unroll
                for (int i = 0; i < COUNT; i += 4) {
                    vec<T, 4> four = *(const vec<T, 4>*)(tile + Own::at(place(thread, i), depth + d));
#pragma unroll
                    for (int j = 0; j < 4; j++) at[d][i + j] = float(four.at[j]);
                }
            }
        }
    }
};

struct Sums {
    typedef Fragment<TA, TileA, A_BY_DEPTH, ROWS, THREADS_DOWN> Rows;
    typedef Fragment<TB, TileB, B_BY_DEPTH, COLUMNS, THREADS_ACROSS> Columns;
    float at[ROWS][COLUMNS];
#if ORDERED
    // Sums are added in blocks.
    float totals[ROWS][COLUMNS];
#endif
    u32 across, down;

    INLINE Sums() {
        u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        across = warp % (THREADS_ACROSS / 8) * 8 + lane % 8;
        down = warp / (THREADS_ACROSS / 8) * 4 + lane / 8;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                at[i][j] = 0.0f;
#if ORDERED
                totals[i][j] = 0.0f;
#endif
            }
        }
    }

    INLINE void add(const TA* a, const TB* b) {
#pragma unroll
        for (int depth = 0; depth < BLOCK_K; depth += 4) {
            Rows rows;
            Columns columns;
            rows.load(a, down, depth);
            columns.load(b, across, depth);
#pragma unroll
            for (int d = 0; d < 4; d++) {
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
#pragma unroll
                    for (int j = 0; j < COLUMNS; j++) at[i][j] = fmaf(rows.at[d][i], columns.at[d][j], at[i][j]);
                }
            }
        }
    }

#if ORDERED
    INLINE void end_block() {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                totals[i][j] += at[i][j];
                at[i][j] = 0.0f;
            }
        }
    }
#endif

    INLINE void put(const Extents& extents, const Part& part, const Result& result) const {
        const int WIDE = B_BY_DEPTH ? 1 : 4;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
            for (int j = 0; j < COLUMNS; j += WIDE) {
                float sums[WIDE];
#pragma unroll
                for (int n = 0; n < WIDE; n++) {
#if ORDERED
                    sums[n] = totals[i][j + n];
#else
                    sums[n] = at[i][j + n];
#endif
                }
                result.put(extents, part, part.row + Rows::place(down, i), part.column + Columns::place(across, j), sums);
            }
        }
    }
};
