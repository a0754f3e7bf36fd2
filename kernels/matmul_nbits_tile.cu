// Products of many rows with weights of BITS bits, by tiles of 64 x 64: blocks of 256 threads go through the depth by 32, unpack the weights into
// shared memory, and each thread sums 4 x 4.

#define SIDE 64u
#define DEPTH 32u
// Four floats of a row are read at once.
#define STEP (SIDE + 4u)
#define OF_WORD (32u / BITS)
#define MASK ((1u << BITS) - 1u)

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

extern "C" __global__ void matmul_nbits_tile(const IN* a, const u32* weights, const SCALE* scales, const ZERO* zeros, const SCALE* bias, OUT* y, Product p) {
    __shared__ float tile_a[DEPTH * STEP], tile_b[DEPTH * STEP];
    u32 first_row = blockIdx.x / p.column_tiles * SIDE, first_column = blockIdx.x % p.column_tiles * SIDE;
    u32 across = threadIdx.x % 16 * 4, down = threadIdx.x / 16 * 4;
    float sums[4][4] = {};
    for (u32 start = 0; start < p.k; start += DEPTH) {
        for (u32 i = threadIdx.x; i < SIDE * DEPTH; i += 256) {
            u32 row = first_row + i / DEPTH, depth = start + i % DEPTH;
            tile_a[i % DEPTH * STEP + i / DEPTH] = row < p.m && depth < p.k ? float(a[row * p.k + depth]) : 0.0f;
        }
        // As many words of a column are unpacked as weights have bits.
        for (u32 i = threadIdx.x; i < SIDE * BITS; i += 256) {
            u32 at = i / BITS, column = min(first_column + at, p.n - 1), word = start / OF_WORD + i % BITS;
            // What lies behind the last block is multiplied by 0.
            u32 of_block = column * p.blocks + min(word * OF_WORD >> p.shift, p.blocks - 1);
            u32 packed = word < 4 * p.vectors ? weights[4 * column * p.vectors + word] : 0;
            float scale = float(scales[of_block]), origin = ZEROS ? float(zeros[of_block]) : float(1 << (BITS - 1));
#pragma unroll
            for (u32 j = 0; j < OF_WORD; j++) {
                tile_b[(i % BITS * OF_WORD + j) * STEP + at] = (float(packed >> (BITS * j) & MASK) - origin) * scale;
            }
        }
        __syncthreads();
#pragma unroll 8
        for (u32 depth = 0; depth < DEPTH; depth++) {
            vec<float, 4> x = load<4>(tile_a + depth * STEP + down), w = load<4>(tile_b + depth * STEP + across);
#pragma unroll
            for (u32 r = 0; r < 4; r++) {
#pragma unroll
                for (u32 c = 0; c < 4; c++) sums[r][c] += x[r] * w[c];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 r = 0; r < 4; r++) {
#pragma unroll
        for (u32 c = 0; c < 4; c++) {
            u32 row = first_row + down + r, column = first_column + across + c;
            if (row < p.m && column < p.n) y[row * p.n + column] = OUT(sums[r][c] + (bias ? float(bias[column]) : 0.0f));
        }
    }
}
