// Matrix products of 8-bit integers by tiles. EXTRA are parameters of what is done to a `sum` of `row` and `column` that goes to `at`, which is
// EPILOGUE.

struct Product {
    u32 m;
    u32 n;
    u32 k;
    // Tiles along columns, and along rows.
    u32 column_tiles;
    u32 row_tiles;
    // Distances of neighbouring rows and columns.
    u32 a_row;
    u32 a_column;
    u32 b_row;
    u32 b_column;
    u32 a_flip;
    u32 b_flip;
    Zeros a_zeros;
    Zeros b_zeros;
    Loops<RANK, 2> loops;
};

// `b` stands there as it is, or packed: a line of words for each column. `known` are sums of such lines, if they are needed.
extern "C" __global__ void integer_product(const u8* a, const u8* b, const i32* known, const u8* a_zeros, const u8* b_zeros, Y* output, Product p EXTRA) {
    u32 batch = blockIdx.x / p.column_tiles / p.row_tiles;
    u32 first_row = blockIdx.x / p.column_tiles % p.row_tiles * TILE_M, first_column = blockIdx.x % p.column_tiles * TILE_N;
    u32 words = (p.k + 3) / 4, starts[2];
    p.loops.walk(batch, starts);
    a += starts[0];
    if (!PACKED) b += starts[1];
    auto gathered = [&](const u8* from, u32 at, u32 step, u32 word, u32 flip) {
        u32 packed = 0, count = min(4u, p.k - 4 * word);
        for (u32 i = 0; i < count; i++, at += step) packed |= flipped(from[at], flip) << (8 * i);
        return packed;
    };
    auto load_a = [&](u32 row, u32 word) {
        u32 at = row * p.a_row + 4 * word * p.a_column;
        if (WHOLE_A) return *(const u32*)(a + at) ^ p.a_flip * ONES;
        return gathered(a, at, p.a_column, word, p.a_flip);
    };
    auto load_b = [&](u32 word, u32 column) {
        if (PACKED) return ((const u32*)b)[column * p.b_column + word];
        return gathered(b, 4 * word * p.b_row + column * p.b_column, p.b_row, word, p.b_flip);
    };
    auto take = [&](u32 row, u32 column, i32 product, i32 a_sum, i32 b_sum) {
        if (known) b_sum = known[column];
        i32 sum = centred(product, p.a_zeros.of(a_zeros, row), a_sum, p.b_zeros.of(b_zeros, column), b_sum, p.k);
        u32 at = (batch * p.m + row) * p.n + column;
        EPILOGUE;
    };
    integer_tile(first_row, first_column, p.m, p.n, words, load_a, load_b, take);
}
