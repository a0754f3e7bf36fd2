// Matrix products of 8-bit integers: what `integer_tile.wgsl` asks for. Words: m, n, k; strides of a (row, column) and b; then
// those of the loops over the batch.

{{buffers}}

var<private> a_start: u32;
var<private> b_start: u32;
var<private> y_start: u32;

fn begin(batch: u32) {
    m = param(0u);
    n = param(1u);
    k = param(2u);
{{offsets}}
    a_start = offset0;
    b_start = offset1;
    y_start = batch * m * n;
}

fn load_a(row: u32, word: u32) -> u32 {
    var packed = 0u;
    let count = min(4u, k - 4u * word);
    var at = a_start + row * param(3u) + 4u * word * param(4u);
    for (var i = 0u; i < count; i++) {
        packed |= ((u32(a[at]) ^ {{flip_a}}u) & 0xffu) << (8u * i);
        at += param(4u);
    }
    return packed;
}

fn load_b(word: u32, column: u32) -> u32 {
#if packed
    return b[word * n + column];
#else
    var packed = 0u;
    let count = min(4u, k - 4u * word);
    var at = b_start + 4u * word * param(5u) + column * param(6u);
    for (var i = 0u; i < count; i++) {
        packed |= ((u32(b[at]) ^ {{flip_b}}u) & 0xffu) << (8u * i);
        at += param(5u);
    }
    return packed;
#endif
}

{{zeros}}

fn a_sum(row: u32) -> i32 { return 0; }
#if known_sums
fn b_sum(column: u32) -> i32 { return b_sums[column]; }
#else
fn b_sum(column: u32) -> i32 { return 0; }
#endif

fn store(row: u32, column: u32, sum: i32) {
    let at = y_start + row * n + column;
{{epilogue}}
}
