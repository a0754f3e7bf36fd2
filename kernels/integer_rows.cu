// Products of a few rows with packed 8-bit integers: a warp takes COLUMNS columns of ROWS rows, whose words lie in shared memory, and goes
// through the depth by 16 bytes of each lane. EXTRA and EPILOGUE are as in integer_product.cu.

#define WARPS 8u

struct Product {
    u32 m;
    u32 n;
    u32 k;
    // Blocks along columns.
    u32 column_blocks;
    // Distances of a's rows and columns; words of a column of b.
    u32 a_row;
    u32 a_column;
    u32 b_column;
    u32 a_flip;
    Zeros a_zeros;
    Zeros b_zeros;
};

extern "C" __global__ void integer_rows(const u8* a, const uint4* b, const i32* known, const u8* a_zeros, const u8* b_zeros, Y* output, Product p EXTRA) {
    // Vectors of four words, of each row.
    __shared__ uint4 held[ROWS][VECTORS];
    u32 first_row = blockIdx.x / p.column_blocks * ROWS;
    u32 lane = threadIdx.x % WARP;
    u32 first_column = (blockIdx.x % p.column_blocks * WARPS + threadIdx.x / WARP) * COLUMNS;
    u32 vectors = p.b_column / 4;
    i32 sums[ROWS][COLUMNS] = {}, a_sums[ROWS] = {};
    for (u32 start = 0; start < vectors; start += VECTORS) {
        u32 count = min(VECTORS, vectors - start);
        __syncthreads();
        for (u32 i = threadIdx.x; i < ROWS * count * 4; i += WARPS * WARP) {
            u32 r = i / (count * 4), word = i - r * (count * 4), row = first_row + r, depth = (start * 4 + word) * 4, packed = 0;
            for (u32 j = 0; j < 4; j++) {
                if (row < p.m && depth + j < p.k) packed |= flipped(a[row * p.a_row + (depth + j) * p.a_column], p.a_flip) << (8 * j);
            }
            ((u32*)held[r])[word] = packed;
        }
        __syncthreads();
        for (u32 at = lane; at < count; at += WARP) {
            uint4 four[COLUMNS];
#pragma unroll
            for (u32 c = 0; c < COLUMNS; c++) four[c] = b[min(first_column + c, p.n - 1) * vectors + start + at];
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) {
                uint4 x = held[r][at];
#pragma unroll
                for (u32 c = 0; c < COLUMNS; c++) {
                    sums[r][c] = dot(x.w, four[c].w, dot(x.z, four[c].z, dot(x.y, four[c].y, dot(x.x, four[c].x, sums[r][c]))));
                }
                if (SUMS_A) a_sums[r] = dot(x.w, ONES, dot(x.z, ONES, dot(x.y, ONES, dot(x.x, ONES, a_sums[r]))));
            }
        }
    }
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        u32 row = first_row + r;
        i32 a_sum = SUMS_A ? warp_sum(a_sums[r]) : 0;
#pragma unroll
        for (u32 c = 0; c < COLUMNS; c++) {
            u32 column = first_column + c;
            i32 product = warp_sum(sums[r][c]);
            if (lane != 0 || row >= p.m || column >= p.n) continue;
            i32 b_sum = known ? known[column] : 0;
            i32 sum = centred(product, p.a_zeros.of(a_zeros, row), a_sum, p.b_zeros.of(b_zeros, column), b_sum, p.k);
            u32 at = row * p.n + column;
            EPILOGUE;
        }
    }
}
