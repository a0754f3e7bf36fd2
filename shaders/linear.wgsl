// Matrix products with their epilogue: what `product.wgsl` asks for. Words: m, n, k, alpha; strides of a (row, column) and b; then
// those of the loops over the batch.

{{buffers}}

var<private> y_start: u32;
#if loads
var<private> a_start: u32;
var<private> b_start: u32;
#endif

fn begin(batch: u32) {
    m = param(0u);
    n = param(1u);
    k = param(2u);
    y_start = batch * m * n;
#if loads
{{offsets}}
    a_start = offset0;
    b_start = offset1;
#endif
}

#if loads
fn load_a(row: u32, depth: u32) -> f32 { return f32(a[a_start + row * param(4u) + depth * param(5u)]); }
#if packed_b
fn load_b(depth: u32, column: u32) -> vec4<f32> { return vec4<f32>(b[depth * ((n + 3u) / 4u) + column / 4u]); }
#else
#if wide_b
fn load_b(depth: u32, column: u32) -> vec4<f32> { return vec4<f32>(b[(b_start + depth * param(6u) + column) / 4u]); }
#else
fn load_b(depth: u32, column: u32) -> f32 { return f32(b[b_start + depth * param(6u) + column * param(7u)]); }
#endif
#endif
#endif

#if stores
{{activation}}

fn store(row: u32, column: u32, sums: Sums) {
    let at = (y_start + row * n + column) / WIDTH;
    var value = bitcast<f32>(param(3u)) * sums;
{{addends}}
    output[at] = Out(activated(value));
}
#endif
