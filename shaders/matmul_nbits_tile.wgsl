// Products of many rows with weights of few bits: what `product.wgsl` asks for. Words: groups of columns and all groups, which are
// not read; rows, columns, depth, blocks of a column, weights of a block, vectors of four words of a column.

{{buffers}}

fn begin(batch: u32) {
    m = param(2u);
    n = param(3u);
    k = param(4u);
}

#if loads
const BITS = {{bits}}u;
const OF_WORD = {{of_word}}u;

fn load_a(row: u32, depth: u32) -> f32 { return f32(a[row * k + depth]); }

fn load_b(depth: u32, column: u32) -> f32 {
    let word = depth / OF_WORD;
    let packed = weights[column * param(7u) + word / 4u][word % 4u];
    let block = column * param(5u) + depth / param(6u);
#if zero
    let origin = f32(zeros[block]);
#else
    let origin = {{half}}.0;
#endif
    return (f32(extractBits(packed, depth % OF_WORD * BITS, BITS)) - origin) * f32(scales[block]);
}
#endif

#if stores
{{activation}}

fn store(row: u32, column: u32, sums: Sums) {
    let at = (row * n + column) / WIDTH;
#if bias
    y[at] = Out(activated(sums + Sums(bias[column / WIDTH])));
#else
    y[at] = Out(activated(sums));
#endif
}
#endif
