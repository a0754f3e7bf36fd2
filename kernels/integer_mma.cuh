// As integer_tile.cuh, by tensor cores: blocks of 256 threads, 8 warps, take tiles of 64 x 64 and go through the depth by 64; mma.cuh comes before.

#define TILE_M 64u
#define TILE_N 64u
// Words of a row that are held: two products' depth.
#define WORDS 16u
// Rows begin at different banks.
#define STEP (WORDS + 4u)
#define ROW_TILES 2u
#define COLUMN_TILES 2u

template <class LoadA, class LoadB, class Store>
__device__ void integer_tile(u32 first_row, u32 first_column, u32 m, u32 n, u32 words, LoadA load_a, LoadB load_b, Store take) {
    __shared__ u32 tile_a[TILE_M * STEP], tile_b[TILE_N * STEP];
    __shared__ i32 held_sums[TILE_M + TILE_N];
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, group = lane / 4, part = lane % 4;
    // Of the warps, two stand side by side along rows and four along columns.
    u32 warp_row = warp / 4 * 16 * ROW_TILES, warp_column = warp % 4 * 8 * COLUMN_TILES;
    i32 sums[ROW_TILES][COLUMN_TILES][4] = {}, own_sum = 0;
    for (u32 start = 0; start < words; start += WORDS) {
        // Words of a row lie side by side.
        for (u32 i = threadIdx.x; i < TILE_M * WORDS; i += 256) {
            u32 row = first_row + i / WORDS, word = start + i % WORDS;
            tile_a[i / WORDS * STEP + i % WORDS] = row < m && word < words ? load_a(row, word) : 0;
        }
        for (u32 i = threadIdx.x; i < TILE_N * WORDS; i += 256) {
            u32 column = B_BY_DEPTH ? i / WORDS : i % TILE_N, word = B_BY_DEPTH ? i % WORDS : i / TILE_N;
            bool exists = first_column + column < n && start + word < words;
            tile_b[column * STEP + word] = exists ? load_b(start + word, first_column + column) : 0;
        }
        __syncthreads();
        if ((SUMS_A && threadIdx.x < TILE_M) || (SUMS_B && threadIdx.x >= TILE_M && threadIdx.x < TILE_M + TILE_N)) {
            const u32* line = threadIdx.x < TILE_M ? tile_a + threadIdx.x * STEP : tile_b + (threadIdx.x - TILE_M) * STEP;
            for (u32 word = 0; word < WORDS; word++) own_sum = dot(line[word], ONES, own_sum);
        }
#pragma unroll
        for (u32 depth = 0; depth < WORDS; depth += 8) {
            u32 a[ROW_TILES][4], b[COLUMN_TILES][2];
#pragma unroll
            for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
                for (u32 i = 0; i < 4; i++) a[r][i] = tile_a[(warp_row + 16 * r + group + i % 2 * 8) * STEP + depth + part + i / 2 * 4];
            }
#pragma unroll
            for (u32 c = 0; c < COLUMN_TILES; c++) {
#pragma unroll
                for (u32 i = 0; i < 2; i++) b[c][i] = tile_b[(warp_column + 8 * c + group) * STEP + depth + part + i * 4];
            }
#pragma unroll
            for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
                for (u32 c = 0; c < COLUMN_TILES; c++) mma_s8(sums[r][c], a[r], b[c]);
            }
        }
        __syncthreads();
    }
    if (SUMS_A || SUMS_B) {
        if (threadIdx.x < TILE_M + TILE_N) held_sums[threadIdx.x] = own_sum;
        __syncthreads();
    }
#pragma unroll
    for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
        for (u32 c = 0; c < COLUMN_TILES; c++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                u32 row = warp_row + 16 * r + group + i / 2 * 8, column = warp_column + 8 * c + 2 * part + i % 2;
                i32 a_sum = SUMS_A ? held_sums[row] : 0, b_sum = SUMS_B ? held_sums[TILE_M + column] : 0;
                if (first_row + row < m && first_column + column < n) take(first_row + row, first_column + column, sums[r][c][i], a_sum, b_sum);
            }
        }
    }
}
