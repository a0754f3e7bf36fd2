// Matrix products with their epilogue: what `tile.wgsl` asks for. Words: m, n, k, alpha; strides of a (row, column) and b; then
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

fn load_a(row: u32, depth: u32) -> f32 { return a[a_start + row * param(4u) + depth * param(5u)]; }
fn load_b(depth: u32, column: u32) -> f32 { return b[b_start + depth * param(6u) + column * param(7u)]; }

{{activation}}

fn store(row: u32, column: u32, sum: f32) {
    let at = y_start + row * n + column;
    var value = bitcast<f32>(param(3u)) * sum;
{{addends}}
    output[at] = activate(value);
}
