// Products of a few rows with weights of BITS bits. A column's weights are `vectors` runs of 16 bytes; each of the 32 * SPLIT lanes of a team takes
// every so manieth run of COLUMNS columns, and a block has TEAMS such teams. The rows lie in shared memory as floats, in runs of as many as there
// are weights in a vector, with a gap behind each: so lanes read from different banks.

#define WARPS 8u
#define TEAMS (WARPS / SPLIT)
#define OF_WORD (32 / BITS)
#define RUN (128 / BITS)
#define STEP (RUN + 4)
#define MASK ((1u << BITS) - 1u)
// A float whose last bits are an integer's, and what it stands for without that.
#define MAGIC_BITS 0x4b000000u
#define MAGIC 8388608.0f

struct Product {
    u32 m;
    u32 n;
    u32 k;
    // Of a column.
    u32 blocks;
    u32 vectors;
    // The block of a depth is the depth shifted by so much.
    u32 shift;
    // Vectors of each row that are held at once.
    u32 held;
    u32 column_blocks;
};

extern "C" __global__ void matmul_nbits(const IN* a, const u32* weights, const SCALE* scales, const ZERO* zeros, const SCALE* bias, OUT* y, Product p) {
    SHARED(float, held);
    __shared__ float parts[WARPS][ROWS * COLUMNS];
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, part = warp % SPLIT;
    u32 first_row = blockIdx.x / p.column_blocks * ROWS, first_team = blockIdx.x % p.column_blocks * TEAMS;
    u32 first_column = (first_team + warp / SPLIT) * COLUMNS;
    float sums[ROWS][COLUMNS] = {};
    for (u32 start = 0; start < p.vectors; start += p.held) {
        u32 count = min(p.held, p.vectors - start), numbers = count * RUN;
        __syncthreads();
        for (u32 i = threadIdx.x; i < ROWS * numbers; i += WARPS * WARP) {
            u32 r = i / numbers, at = i - r * numbers, row = first_row + r, depth = start * RUN + at;
            bool exists = row < p.m && depth < p.k;
            held[(r * p.held + at / RUN) * STEP + at % RUN] = exists ? float(a[row * p.k + depth]) : 0.0f;
        }
        __syncthreads();
        for (u32 at = part * WARP + lane; at < count; at += SPLIT * WARP) {
            vec<u32, 4> packed[COLUMNS];
#pragma unroll
            for (u32 c = 0; c < COLUMNS; c++) {
                u32 column = min(first_column + c, p.n - 1);
                packed[c] = load<4>(weights + 4 * (column * p.vectors + start + at));
            }
            float scale[COLUMNS], origin[COLUMNS];
#pragma unroll
            for (u32 word = 0; word < 4; word++) {
                if (word == 0 || !ONE_BLOCK) {
                    // What lies behind the last block is multiplied by 0.
                    u32 block = min(((start + at) * RUN + word * OF_WORD) >> p.shift, p.blocks - 1);
#pragma unroll
                    for (u32 c = 0; c < COLUMNS; c++) {
                        u32 of_block = min(first_column + c, p.n - 1) * p.blocks + block;
                        scale[c] = float(scales[of_block]);
                        origin[c] = ZEROS ? float(zeros[of_block]) : float(1 << (BITS - 1));
                        if (!FLOAT_ZEROS) origin[c] += MAGIC;
                    }
                }
                float own[ROWS][COLUMNS] = {};
#pragma unroll
                for (u32 four = 0; four < OF_WORD / 4; four++) {
                    vec<float, 4> x[ROWS];
#pragma unroll
                    for (u32 r = 0; r < ROWS; r++) x[r] = load<4>(held + (r * p.held + at) * STEP + word * OF_WORD + four * 4);
#pragma unroll
                    for (u32 c = 0; c < COLUMNS; c++) {
#pragma unroll
                        for (u32 i = 0; i < 4; i++) {
                            float weight = __uint_as_float(MAGIC_BITS | (packed[c][word] >> (BITS * (four * 4 + i)) & MASK));
                            weight = FLOAT_ZEROS ? weight - MAGIC - origin[c] : weight - origin[c];
#pragma unroll
                            for (u32 r = 0; r < ROWS; r++) own[r][c] += x[r][i] * weight;
                        }
                    }
                }
#pragma unroll
                for (u32 c = 0; c < COLUMNS; c++) {
#pragma unroll
                    for (u32 r = 0; r < ROWS; r++) sums[r][c] += scale[c] * own[r][c];
                }
            }
        }
    }
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
#pragma unroll
        for (u32 c = 0; c < COLUMNS; c++) {
            float sum = warp_sum(sums[r][c]);
            if (lane == 0) parts[warp][r * COLUMNS + c] = sum;
        }
    }
    __syncthreads();
    if (threadIdx.x >= TEAMS * ROWS * COLUMNS) return;
    u32 team = threadIdx.x / (ROWS * COLUMNS), own = threadIdx.x % (ROWS * COLUMNS);
    u32 row = first_row + own / COLUMNS, column = (first_team + team) * COLUMNS + own % COLUMNS;
    if (row >= p.m || column >= p.n) return;
    float sum = bias ? float(bias[column]) : 0.0f;
    for (u32 i = 0; i < SPLIT; i++) sum += parts[team * SPLIT + i][own];
    y[row * p.n + column] = OUT(sum);
}
