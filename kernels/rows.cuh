// Rows that are reduced: each by LANES threads, 1, a warp, or a block; each of them takes every LANES-th element. Blocks have 256 threads.

#define ROWS_OF_A_BLOCK (256u / LANES)

__device__ inline u32 own_row() { return blockIdx.x * ROWS_OF_A_BLOCK + threadIdx.x / LANES; }
__device__ inline u32 own_lane() { return threadIdx.x % LANES; }

// What all lanes of a row have, joined; all lanes of the row get it. Every thread of the block takes part.
template <class Join> __device__ inline float join_row(float value, Join join) {
    if (LANES == 1) return value;
    value = warp_reduce(value, join);
    if (LANES == 32) return value;
    __shared__ float warps[8];
    __syncthreads();
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();
    value = warps[0];
    for (u32 warp = 1; warp < 8; warp++) value = join(value, warps[warp]);
    return value;
}

struct Add {
    __device__ float operator()(float a, float b) const { return a + b; }
};
struct Greatest {
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

__device__ inline float sum_of(float value) { return join_row(value, Add()); }
__device__ inline float greatest_of(float value) { return join_row(value, Greatest()); }
