// What the inputs give to the gates of all steps, [steps, directions, sequences, gates]: a product of the inputs with the weights' rows, a tile of
// 64 x 64 for a block, of which a thread has 4 x 4.

#define SIDE_OF_TILE 64u
#define DEPTH 16u
#define TILE_STEP (SIDE_OF_TILE + 4)

struct Projection {
    u32 steps, batch, directions, input;
    // All gates of a direction, and the first of them, to which the second bias goes too.
    u32 gates, biased;
    u32 batch_first;
    // Tiles along the gates of all directions.
    u32 tiles;
};

// Elements of DEPTH columns from `k` on of 64 rows, to a tile with rows and columns exchanged; zeros beyond.
INLINE void fetch(float *tile, const X *from, u32 first, u32 rows, u32 columns, u32 k) {
    u32 row = threadIdx.x / 4, column = threadIdx.x % 4 * 4;
    float numbers[4] = {};
    if (first + row < rows) {
        const X *at = from + (u64(first + row) * columns + k + column);
        if (VECTORS && k + column < columns) {
            vec<X, 4> piece = load<4>(at);
            for (u32 i = 0; i < 4; i++) numbers[i] = float(piece[i]);
        } else if (!VECTORS) {
            for (u32 i = 0; i < 4; i++) numbers[i] = k + column + i < columns ? float(at[i]) : 0.0f;
        }
    }
    for (u32 i = 0; i < 4; i++) tile[(column + i) * TILE_STEP + row] = numbers[i];
}

extern "C" __global__ void __launch_bounds__(256) recurrent_project(const X *x, const X *w, const X *bias, float *projected, Projection p) {
    __shared__ __align__(16) float x_tile[DEPTH * TILE_STEP];
    __shared__ __align__(16) float w_tile[DEPTH * TILE_STEP];
    u32 rows = p.steps * p.batch, columns = p.directions * p.gates;
    u32 first_row = blockIdx.x / p.tiles * SIDE_OF_TILE, first_column = blockIdx.x % p.tiles * SIDE_OF_TILE;
    u32 own_row = threadIdx.x / 16 * 4, own_column = threadIdx.x % 16 * 4;
    float sums[4][4] = {};
    for (u32 k = 0; k < p.input; k += DEPTH) {
        fetch(x_tile, x, first_row, rows, p.input, k);
        fetch(w_tile, w, first_column, columns, p.input, k);
        __syncthreads();
#pragma unroll
        for (u32 d = 0; d < DEPTH; d++) {
            vec<float, 4> a = load<4>(x_tile + d * TILE_STEP + own_row), b = load<4>(w_tile + d * TILE_STEP + own_column);
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
#pragma unroll
                for (u32 j = 0; j < 4; j++) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
    for (u32 i = 0; i < 4; i++) {
        u32 row = first_row + own_row + i;
        if (row >= rows) break;
        u32 step = p.batch_first ? row % p.steps : row / p.batch, sequence = p.batch_first ? row / p.steps : row % p.batch;
        for (u32 j = 0; j < 4; j++) {
            u32 column = first_column + own_column + j, direction = column / p.gates, gate = column % p.gates;
            if (column >= columns) break;
            float sum = sums[i][j];
            if (bias) {
                sum += float(bias[direction * 2 * p.gates + gate]);
                if (gate < p.biased) sum += float(bias[(direction * 2 + 1) * p.gates + gate]);
            }
            projected[(u64(step * p.directions + direction) * p.batch + sequence) * p.gates + gate] = sum;
        }
    }
}
