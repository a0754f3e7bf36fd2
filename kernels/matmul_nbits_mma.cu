// Products of many rows of 16-bit floats with weights of BITS bits by tensor cores: blocks of 256 threads, 8 warps, take tiles of 64 x 64 and go
// through the depth by 64. Weights less their zero points are small integers, which 16-bit floats hold; scales come after the products.

#define SIDE 64u
#define DEPTH 64u
// Words of a row that are held, of two numbers each.
#define WORDS (DEPTH / 2u)
// Rows begin at different banks.
#define STEP (WORDS + 4u)
#define OF_WORD (32u / BITS)
#define MASK ((1u << BITS) - 1u)
// Blocks of a column that are held: each has so many products of depth 16.
#define BLOCKS (DEPTH / 16u / PRODUCTS)
#define ROW_TILES 2u
#define COLUMN_TILES 2u

struct Product {
    u32 m;
    u32 n;
    u32 k;
    // Of a column.
    u32 blocks;
    u32 vectors;
    // The block of a depth is the depth shifted by so much.
    u32 shift;
    u32 column_tiles;
};

INLINE u32 pair(IN low, IN high) { return u32(low.bits) | u32(high.bits) << 16; }

extern "C" __global__ void matmul_nbits_mma(const IN* a, const u32* weights, const SCALE* scales, const ZERO* zeros, const SCALE* bias, OUT* y, Product p) {
    __shared__ __align__(16) u32 tile_a[SIDE * STEP], tile_b[SIDE * STEP];
    __shared__ float held[BLOCKS * SIDE];
    u32 first_row = blockIdx.x / p.column_tiles * SIDE, first_column = blockIdx.x % p.column_tiles * SIDE;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, group = lane / 4, part = lane % 4;
    // Of the warps, two stand side by side along rows and four along columns.
    u32 warp_row = warp / 4 * 16 * ROW_TILES, warp_column = warp % 4 * 8 * COLUMN_TILES;
    float sums[ROW_TILES][COLUMN_TILES][4] = {};
    for (u32 start = 0; start < p.k; start += DEPTH) {
#if WHOLE_A
        // Rows begin at 16 bytes.
        for (u32 i = threadIdx.x; i < SIDE * WORDS / 4; i += 256) {
            u32 row = first_row + i / (WORDS / 4), depth = start + i % (WORDS / 4) * 8;
            vec<u32, 4> four = {};
            if (row < p.m && depth < p.k) four = load<4>((const u32*)(a + row * p.k + depth));
            store<4>(tile_a + i / (WORDS / 4) * STEP + i % (WORDS / 4) * 4, four);
        }
#else
        for (u32 i = threadIdx.x; i < SIDE * WORDS; i += 256) {
            u32 row = first_row + i / WORDS, depth = start + i % WORDS * 2;
            IN low = IN::of_bits(0), high = low;
            if (row < p.m && depth < p.k) low = a[row * p.k + depth];
            if (row < p.m && depth + 1 < p.k) high = a[row * p.k + depth + 1];
            tile_a[i / WORDS * STEP + i % WORDS] = pair(low, high);
        }
#endif
        for (u32 i = threadIdx.x; i < SIDE * DEPTH / OF_WORD; i += 256) {
            u32 at = i / (DEPTH / OF_WORD), of_column = i % (DEPTH / OF_WORD), word = start / OF_WORD + of_column;
            u32 column = min(first_column + at, p.n - 1);
            // What lies behind the last block is multiplied by 0.
            u32 of_block = column * p.blocks + min(word * OF_WORD >> p.shift, p.blocks - 1);
            u32 packed = word < 4 * p.vectors ? weights[4 * column * p.vectors + word] : 0;
            float origin = ZEROS ? float(zeros[of_block]) : float(1 << (BITS - 1));
#pragma unroll
            for (u32 j = 0; j < OF_WORD; j += 2) {
                IN low = IN(float(packed >> (BITS * j) & MASK) - origin), high = IN(float(packed >> (BITS * (j + 1)) & MASK) - origin);
                tile_b[at * STEP + (of_column * OF_WORD + j) / 2] = pair(low, high);
            }
        }
        for (u32 i = threadIdx.x; i < BLOCKS * SIDE; i += 256) {
            u32 column = min(first_column + i % SIDE, p.n - 1), depth = start + i / SIDE * 16 * PRODUCTS;
            held[i] = float(scales[column * p.blocks + min(depth >> p.shift, p.blocks - 1)]);
        }
        __syncthreads();
#pragma unroll
        for (u32 block = 0; block < BLOCKS; block++) {
            float own[ROW_TILES][COLUMN_TILES][4] = {};
#pragma unroll
            for (u32 product = 0; product < PRODUCTS; product++) {
                u32 first = (block * PRODUCTS + product) * 8 + part, x[ROW_TILES][4], w[COLUMN_TILES][2];
#pragma unroll
                for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
                    for (u32 i = 0; i < 4; i++) x[r][i] = tile_a[(warp_row + 16 * r + group + i % 2 * 8) * STEP + first + i / 2 * 4];
                }
#pragma unroll
                for (u32 c = 0; c < COLUMN_TILES; c++) {
#pragma unroll
                    for (u32 i = 0; i < 2; i++) w[c][i] = tile_b[(warp_column + 8 * c + group) * STEP + first + i * 4];
                }
#pragma unroll
                for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
                    for (u32 c = 0; c < COLUMN_TILES; c++) MULTIPLY(own[r][c], x[r], w[c]);
                }
            }
#pragma unroll
            for (u32 c = 0; c < COLUMN_TILES; c++) {
#pragma unroll
                for (u32 i = 0; i < 2; i++) {
                    float scale = held[block * SIDE + warp_column + 8 * c + 2 * part + i];
#pragma unroll
                    for (u32 r = 0; r < ROW_TILES; r++) {
                        sums[r][c][i] += scale * own[r][c][i];
                        sums[r][c][i + 2] += scale * own[r][c][i + 2];
                    }
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
        for (u32 c = 0; c < COLUMN_TILES; c++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                u32 row = first_row + warp_row + 16 * r + group + i / 2 * 8, column = first_column + warp_column + 8 * c + 2 * part + i % 2;
                if (row < p.m && column < p.n) y[row * p.n + column] = OUT(sums[r][c][i] + (bias ? float(bias[column]) : 0.0f));
            }
        }
    }
}
