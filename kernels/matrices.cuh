// A block's sums by tensor cores: WARPS_M x WARPS_N warps, each with BLOCK_M / WARPS_M rows, a multiple of 16, of BLOCK_N / WARPS_N
// columns, likewise. Floats of 32 bits are rounded to tf32.

#define WARP_M (BLOCK_M / WARPS_M)
#define WARP_N (BLOCK_N / WARPS_N)

INLINE void multiply(f16, float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_f16(d, a, b); }
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
INLINE void multiply(bf16, float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_bf16(d, a, b); }
INLINE void multiply(float, float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_tf32(d, a, b); }
#endif

// The parts of a factor that a warp's products take: 16 places along the outer axis, in halves of 8, and 32 bytes of depth, likewise.
// Words are those of (outer half, depth half) 00, 10, 01, 11.
template <class T, class Own, bool BY_DEPTH> INLINE void load_factor(u32 (&words)[4], const T* tile, u32 outer, u32 depth) {
    u32 lane = threadIdx.x % WARP;
    if (sizeof(T) == 2 && BY_DEPTH) {
        load_matrices(words, tile + Own::at(outer + lane % 16, depth + lane / 16 * 8));
    } else if (sizeof(T) == 2) {
        load_matrices_transposed(words, tile + Own::at(outer + lane / 8 % 2 * 8, depth + lane / 16 * 8 + lane % 8));
    } else {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            words[i] = tf32(float(tile[Own::at(outer + lane / 4 + i % 2 * 8, depth + lane % 4 + i / 2 * 4)]));
        }
    }
}

struct Sums {
    // Depth of a product.
    static const int STEP = 32 / sizeof(TA);
    float at[WARP_M / 16][WARP_N / 8][4];
    u32 row, column;

    INLINE Sums() {
        u32 warp = threadIdx.x / WARP;
        row = warp / WARPS_N * WARP_M;
        column = warp % WARPS_N * WARP_N;
#pragma unroll
        for (int i = 0; i < WARP_M / 16; i++) {
#pragma unroll
            for (int j = 0; j < WARP_N / 8; j++) {
#pragma unroll
                for (int n = 0; n < 4; n++) at[i][j][n] = 0.0f;
            }
        }
    }

    INLINE void add(const TA* a, const TB* b) {
#pragma unroll
        for (int depth = 0; depth < BLOCK_K; depth += STEP) {
            u32 rows[WARP_M / 16][4];
#pragma unroll
            for (int i = 0; i < WARP_M / 16; i++) load_factor<TA, TileA, A_BY_DEPTH>(rows[i], a, row + 16 * i, depth);
#pragma unroll
            for (int j = 0; j < WARP_N / 16; j++) {
                u32 columns[4];
                load_factor<TB, TileB, B_BY_DEPTH>(columns, b, column + 16 * j, depth);
                u32 left[2] = {columns[0], columns[2]}, right[2] = {columns[1], columns[3]};
#pragma unroll
                for (int i = 0; i < WARP_M / 16; i++) {
                    multiply(TA(0.0f), at[i][2 * j], rows[i], left);
                    multiply(TA(0.0f), at[i][2 * j + 1], rows[i], right);
                }
            }
        }
    }

    INLINE void put(const Extents& extents, const Part& part, const Result& result) const {
        u32 lane = threadIdx.x % WARP;
#pragma unroll
        for (int i = 0; i < WARP_M / 16; i++) {
#pragma unroll
            for (int j = 0; j < WARP_N / 8; j++) {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float sums[2] = {at[i][j][2 * half], at[i][j][2 * half + 1]};
                    u32 below = part.row + row + 16 * i + 8 * half + lane / 4;
                    result.put(extents, part, below, part.column + column + 8 * j + lane % 4 * 2, sums);
                }
            }
        }
    }
};
