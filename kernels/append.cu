// Rows of a cache and those that follow it, by heads: [heads, rows, width], in pieces of T.

struct Append {
    // Pieces in all; rows of a head in all, and of them cached ones; pieces of a row; heads of a batch.
    u32 count, rows, cached, width, heads;
    // Distances of batches, heads and rows of the new ones.
    u32 step[3];
    // The first of the new ones.
    u32 start;
};

extern "C" __global__ void append(const T *past, const T *added, T *all, Append p) {
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= p.count) return;
    u32 column = at % p.width, row = at / p.width % p.rows, head = at / p.width / p.rows;
    if (row < p.cached) {
        all[at] = past[(head * p.cached + row) * p.width + column];
    } else {
        all[at] = added[p.start + head / p.heads * p.step[0] + head % p.heads * p.step[1] + (row - p.cached) * p.step[2] + column];
    }
}
