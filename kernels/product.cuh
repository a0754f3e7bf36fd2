// What all forms of a matrix product have in common: which part of it a block computes. A form says BLOCK_M and BLOCK_N.

struct Extents {
    u32 batches, m, n, k;
    // In how many parts the depth goes, and how deep a part is.
    u32 splits, part;
};

// Steps through a factor along its outer axis, rows of A or columns of B, and along the depth.
struct Strides {
    u32 outer, depth;
};

// Where the factors of each product begin.
template <int RANK> struct Batches {
    Strides a, b;
    Loops<RANK, 2> loops;
};

// Rows of blocks that are gone through together, so that blocks that run at once read few rows and columns.
#define BAND 8u

// What a block computes: where its sums begin, and the depth they go over.
struct Part {
    u32 batch, split;
    u32 row, column;
    u32 first, last;
};

INLINE Part own_part(const Extents& extents) {
    u32 down = (extents.m + BLOCK_M - 1) / BLOCK_M, across = (extents.n + BLOCK_N - 1) / BLOCK_N;
    u32 index = blockIdx.x;
    u32 product = index / (down * across);
    index -= product * (down * across);
    u32 band = index / (BAND * across);
    index -= band * BAND * across;
    u32 height = min(BAND, down - band * BAND);
    Part part;
    part.batch = product / extents.splits;
    part.split = product % extents.splits;
    part.row = (band * BAND + index % height) * BLOCK_M;
    part.column = index / height * BLOCK_N;
    part.first = min(part.split * extents.part, extents.k);
    part.last = min(part.first + extents.part, extents.k);
    return part;
}
