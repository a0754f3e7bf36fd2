// What the loops of matrix products are given: by `four_a(row, depth)` the left operand in four rows, by `four_b(depth, column)` the right one
// in four columns, 0 outside of the matrices; `four_y(batch, row, column, sums)` takes four sums. An operator's room says where elements are: `begin(batch)`
// comes first and sets `m`, `n`, `k`; then `begin_columns(column)`, if an invocation always loads the same columns.

var<private> m: u32;
var<private> n: u32;
var<private> k: u32;

#if ordered
/// Products of a sum are added with one rounding, in blocks of so many.
fn block() -> u32 { return param({{split_words}}u + 3u); }

#endif

#if wide_fma
fn mac(a: f32, b: vec4<f32>, c: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(
        f32(f64(a) * f64(b.x) + f64(c.x)),
        f32(f64(a) * f64(b.y) + f64(c.y)),
        f32(f64(a) * f64(b.z) + f64(c.z)),
        f32(f64(a) * f64(b.w) + f64(c.w)),
    );
}
#else
fn mac(a: f32, b: vec4<f32>, c: vec4<f32>) -> vec4<f32> { return fma(vec4<f32>(a), b, c); }
#endif

#if loads
fn four_a(row: u32, depth: u32) -> vec4<f32> {
    var value = vec4<f32>();
    if (depth >= k || row >= m) { return value; }
#if wide_a
    return load_a(row, depth);
#else
    value.x = load_a(row, depth);
    if (row + 1u < m) { value.y = load_a(row + 1u, depth); }
    if (row + 2u < m) { value.z = load_a(row + 2u, depth); }
    if (row + 3u < m) { value.w = load_a(row + 3u, depth); }
    return value;
#endif
}

/// The left operand in one row.
fn one_a(row: u32, depth: u32) -> f32 {
    if (depth >= k || row >= m) { return 0.0; }
#if wide_a
    return load_a(row, depth)[row % 4u];
#else
    return load_a(row, depth);
#endif
}

#if own_b
#else
fn begin_columns(column: u32) {}

fn four_b(depth: u32, column: u32) -> vec4<f32> {
    var value = vec4<f32>();
    if (depth >= k || column >= n) { return value; }
#if wide_b
    return load_b(depth, column);
#else
    value.x = load_b(depth, column);
    if (column + 1u < n) { value.y = load_b(depth, column + 1u); }
    if (column + 2u < n) { value.z = load_b(depth, column + 2u); }
    if (column + 3u < n) { value.w = load_b(depth, column + 3u); }
    return value;
#endif
}
#endif
#endif

#if split
/// In how many parts a sum's products are added, and the depth of a part.
fn splits() -> u32 { return param({{split_words}}u); }
fn part() -> u32 { return param({{split_words}}u + 1u); }

fn four_y(batch: u32, row: u32, column: u32, sums: vec4<f32>) {
    let n4 = (n + 3u) / 4u;
    if (row < m && column < n) { parts[(batch * m + row) * n4 + column / 4u] = sums; }
}
#else
fn splits() -> u32 { return 1u; }
fn part() -> u32 { return k; }

#if wide_y
alias Sums = vec4<f32>;
const WIDTH = 4u;
fn activated(x: Sums) -> Sums { return Sums(activate(x.x), activate(x.y), activate(x.z), activate(x.w)); }
#else
alias Sums = f32;
const WIDTH = 1u;
fn activated(x: Sums) -> Sums { return activate(x); }
#endif

fn four_y(batch: u32, row: u32, column: u32, sums: vec4<f32>) {
    if (row >= m) { return; }
#if wide_y
    if (column < n) { store(row, column, sums); }
#else
    if (column < n) { store(row, column, sums.x); }
    if (column + 1u < n) { store(row, column + 1u, sums.y); }
    if (column + 2u < n) { store(row, column + 2u, sums.z); }
    if (column + 3u < n) { store(row, column + 3u, sums.w); }
#endif
}
#endif
