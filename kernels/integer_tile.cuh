// Sums of products of 8-bit integers by tiles of TILE_M x TILE_N, for blocks of 256 threads. `load_a(row, word)` and `load_b(word, column)`
// give four depths of the operands, and 0 beyond the end of the depth; `store(row, column, sum, a_sum, b_sum)` takes what comes of them.

#define WORDS 8u
#define ROWS (TILE_M / 16u)
#define COLUMNS (TILE_N / 16u)
// Neighbouring words of a row go to different banks.
#define STEP_A (TILE_M + 4u)
#define STEP_B (TILE_N + 4u)

template <class LoadA, class LoadB, class Store>
__device__ void integer_tile(u32 first_row, u32 first_column, u32 m, u32 n, u32 words, LoadA load_a, LoadB load_b, Store take) {
    __shared__ u32 tile_a[WORDS * STEP_A], tile_b[WORDS * STEP_B];
    u32 x = threadIdx.x % 16, y = threadIdx.x / 16;
    i32 sums[ROWS][COLUMNS] = {}, a_sums[ROWS] = {}, b_sums[COLUMNS] = {};
    for (u32 start = 0; start < words; start += WORDS) {
        // Words of a row lie side by side.
        for (u32 i = threadIdx.x; i < TILE_M * WORDS; i += 256) {
            u32 row = first_row + i / WORDS, word = start + i % WORDS;
            tile_a[i % WORDS * STEP_A + i / WORDS] = row < m && word < words ? load_a(row, word) : 0;
        }
        for (u32 i = threadIdx.x; i < TILE_N * WORDS; i += 256) {
            u32 column = B_BY_DEPTH ? i / WORDS : i % TILE_N, word = B_BY_DEPTH ? i % WORDS : i / TILE_N;
            bool exists = first_column + column < n && start + word < words;
            tile_b[word * STEP_B + column] = exists ? load_b(start + word, first_column + column) : 0;
        }
        __syncthreads();
#pragma unroll
        for (u32 word = 0; word < WORDS; word++) {
            u32 a[ROWS], b[COLUMNS];
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) a[r] = tile_a[word * STEP_A + y + 16 * r];
#pragma unroll
            for (u32 c = 0; c < COLUMNS; c++) b[c] = tile_b[word * STEP_B + x + 16 * c];
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) {
#pragma unroll
                for (u32 c = 0; c < COLUMNS; c++) sums[r][c] = dot(a[r], b[c], sums[r][c]);
                if (SUMS_A) a_sums[r] = dot(a[r], ONES, a_sums[r]);
            }
#pragma unroll
            for (u32 c = 0; c < COLUMNS; c++) {
                if (SUMS_B) b_sums[c] = dot(b[c], ONES, b_sums[c]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
#pragma unroll
        for (u32 c = 0; c < COLUMNS; c++) {
            u32 row = first_row + y + 16 * r, column = first_column + x + 16 * c;
            if (row < m && column < n) take(row, column, sums[r][c], a_sums[r], b_sums[c]);
        }
    }
}
