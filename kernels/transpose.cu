// A copy in which neighbours of the source (along b) and of the target (along a) go along different loops: by way of tiles of
// 32 x 32 in shared memory, so that both sides are gone through in order. T has as many bytes as an element.

#define SIDE 32u

struct Tiles {
    // Tiles along a and b, extents of a and b.
    u32 tiles[2];
    u32 extents[2];
    u32 from;
    u32 to;
    // The source's stride along a, the target's along b.
    i32 source_stride;
    i32 target_stride;
};

// Blocks of 32 x 8 threads, one for each tile.
extern "C" __global__ void transpose(const T* source, T* target, Tiles tiles, Loops<RANK, 2> outer) {
    // A row has a place more than needed, so that columns go over all banks.
    __shared__ T tile[SIDE][SIDE + 1];
    u32 first_a = blockIdx.x % tiles.tiles[0] * SIDE;
    u32 first_b = blockIdx.x / tiles.tiles[0] % tiles.tiles[1] * SIDE;
    u32 at[2];
    outer.walk(blockIdx.x / tiles.tiles[0] / tiles.tiles[1], at);
    source += tiles.from + at[0];
    target += tiles.to + at[1];
    for (u32 i = threadIdx.y; i < SIDE; i += blockDim.y) {
        u32 a = first_a + i, b = first_b + threadIdx.x;
        if (a < tiles.extents[0] && b < tiles.extents[1]) tile[i][threadIdx.x] = source[(i32)a * tiles.source_stride + (i32)b];
    }
    __syncthreads();
    for (u32 i = threadIdx.y; i < SIDE; i += blockDim.y) {
        u32 a = first_a + threadIdx.x, b = first_b + i;
        if (a < tiles.extents[0] && b < tiles.extents[1]) target[(i32)b * tiles.target_stride + (i32)a] = tile[threadIdx.x][i];
    }
}
