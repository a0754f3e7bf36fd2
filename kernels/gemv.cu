// A matrix product with few rows, at most FEW: the other factor is streamed, WIDTH elements at once, and each of its elements read
// once. If SWAPPED there are few columns instead, and A is streamed. Macros: types TF of the few and TM of the many; F_WIDTH elements
// of the few that lie side by side along the depth are read at once; BATCH_AXES of the loops over products. Blocks have 256 threads
// and take STREAMED of the many. By depth: DOWN warps share COLUMNS of them.

#define WARPS 8u

struct Factors {
    const TF* few;
    const TM* many;
    Strides f, m;
    // How many there are of each.
    u32 rows, columns;

    // COUNT elements of a few's row, from a depth on.
    template <int COUNT> INLINE void read(float (&x)[COUNT], u32 row, u32 depth, u32 last) const {
        const TF* from = few + min(row, rows - 1) * f.outer + depth * f.depth;
        if (F_WIDTH % COUNT == 0) {
            vec<TF, COUNT> pack = load<COUNT>(from);
#pragma unroll
            for (int i = 0; i < COUNT; i++) x[i] = float(pack[i]);
        } else {
#pragma unroll
            for (int i = 0; i < COUNT; i++) x[i] = depth + i < last ? float(from[i * f.depth]) : 0.0f;
        }
    }
};

// Finishes a sum.
INLINE void finish(const Extents& extents, const Part& part, const Result& result, u32 row, u32 column, float sum) {
    float sums[1] = {sum};
    if (SWAPPED) result.put(extents, part, part.row + column, row, sums);
    else result.put(extents, part, row, part.column + column, sums);
}

#if BY_DEPTH

INLINE void stream(const Factors& factors, u32 first, const Extents& extents, const Part& part, const Result& result) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 column = warp / DOWN * COLUMNS;
    float sums[FEW][COLUMNS] = {};
#pragma unroll 4
    for (u32 depth = part.first + (warp % DOWN * WARP + lane) * WIDTH; depth < part.last; depth += DOWN * WARP * WIDTH) {
        vec<TM, WIDTH> many[COLUMNS];
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            many[j] = load<WIDTH>(factors.many + min(first + column + j, factors.columns - 1) * factors.m.outer + depth);
        }
#pragma unroll
        for (int r = 0; r < FEW; r++) {
            float x[WIDTH];
            factors.read(x, r, depth, part.last);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
#pragma unroll
                for (int i = 0; i < WIDTH; i++) sums[r][j] = fmaf(x[i], float(many[j][i]), sums[r][j]);
            }
        }
    }
    __shared__ float parts[WARPS][FEW * COLUMNS];
#pragma unroll
    for (int i = 0; i < FEW * COLUMNS; i++) {
        float sum = warp_sum(sums[i / COLUMNS][i % COLUMNS]);
        if (lane == 0) parts[warp][i] = sum;
    }
    __syncthreads();
    if (warp % DOWN != 0) return;
    for (u32 i = lane; i < FEW * COLUMNS; i += WARP) {
        float sum = 0.0f;
        for (u32 other = 0; other < DOWN; other++) sum += parts[warp + other][i];
        finish(extents, part, result, i / COLUMNS, column + i % COLUMNS, sum);
    }
}

#else
// Threads side by side along the columns; the others take depths, UNROLLED at a time.
#define LANES 8u
#define UNROLLED 4u

INLINE void stream(const Factors& factors, u32 first, const Extents& extents, const Part& part, const Result& result) {
    u32 across = threadIdx.x % LANES * WIDTH, down = threadIdx.x / LANES;
    bool inside = first + across < factors.columns;
    const TM* many = factors.many + (first + across) * factors.m.outer;
    float sums[FEW][WIDTH] = {};
#pragma unroll 2
    for (u32 depth = part.first + down * UNROLLED; depth < part.last; depth += 256 / LANES * UNROLLED) {
        vec<TM, WIDTH> pack[UNROLLED] = {};
#pragma unroll
        for (int d = 0; d < UNROLLED; d++) {
            if (inside && depth + d < part.last) pack[d] = load<WIDTH>(many + (depth + d) * factors.m.depth);
        }
#pragma unroll
        for (int r = 0; r < FEW; r++) {
            float x[UNROLLED];
            factors.read(x, r, depth, part.last);
#pragma unroll
            for (int d = 0; d < UNROLLED; d++) {
#pragma unroll
                for (int i = 0; i < WIDTH; i++) sums[r][i] = fmaf(x[d], float(pack[d][i]), sums[r][i]);
            }
        }
    }
    __shared__ float parts[WARPS][FEW][STREAMED];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
#pragma unroll
    for (int r = 0; r < FEW; r++) {
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            float sum = sums[r][i];
            for (u32 distance = LANES; distance < WARP; distance *= 2) sum += __shfl_xor_sync(FULL, sum, distance);
            if (lane < LANES) parts[warp][r][across + i] = sum;
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < FEW * STREAMED; i += 256) {
        float sum = 0.0f;
        for (u32 other = 0; other < WARPS; other++) sum += parts[other][i / STREAMED][i % STREAMED];
        finish(extents, part, result, i / STREAMED, i % STREAMED, sum);
    }
}
#endif

extern "C" __global__ void __launch_bounds__(256)
    gemv(const TF* __restrict__ few, const TM* __restrict__ many, Extents extents, Batches<BATCH_AXES> batches, RESULT_PARAMETERS) {
    Part part = own_part(extents);
    u32 start[2];
    batches.loops.walk(part.batch, start);
    Factors factors = SWAPPED ? Factors{few + start[1], many + start[0], batches.b, batches.a, extents.n, extents.m}
                              : Factors{few + start[0], many + start[1], batches.a, batches.b, extents.m, extents.n};
    stream(factors, SWAPPED ? part.row : part.column, extents, part, RESULT);
}
