// What convolutions as matrix products have in common: rows are the filters of a group, columns the elements of an image.

var<private> x_start: u32;
var<private> y_start: u32;
var<private> group: u32;

/// What is multiplied in a batch: an image's part for a group, of `group_elements` elements.
fn begin_filters(batch: u32, filters: u32, elements: u32, depth: u32, groups: u32, group_elements: u32) {
    m = filters;
    n = elements;
    k = depth;
    group = batch % groups;
    x_start = batch * group_elements;
    y_start = batch * m * n;
}

#if loads
#if wide_a
fn load_a(row: u32, depth: u32) -> vec4<f32> { return vec4<f32>(w[((group * k + depth) * ((m + 3u) / 4u)) + row / 4u]); }
#else
fn load_a(row: u32, depth: u32) -> f32 { return f32(w[(group * m + row) * k + depth]); }
#endif
#endif

#if stores
{{activation}}

fn store(row: u32, column: u32, sums: Sums) {
    let at = (y_start + row * n + column) / WIDTH;
    var value = sums;
#if bias
    value += Sums(f32(bias[group * m + row]));
#endif
#if residual
    value += Sums(residual[at]);
#endif
    output[at] = Out(activated(value));
}
#endif
