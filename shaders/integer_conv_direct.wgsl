// Convolution of 8-bit integers: what `direct.wgsl` asks for.

{{buffers}}

{{zeros}}

var<private> total: i32;
/// The zero points of weights and images.
var<private> zero_w: i32;
var<private> zero_x: i32;

fn begin(of_filter: u32) {
    zero_w = filter_zero(of_filter);
    zero_x = zero_b(0u);
}

fn add(inside: bool, x_at: u32, w_at: u32) {
    if (inside) { total += (i32(w[w_at]) - {{flip_a}} - zero_w) * (i32(x[x_at]) - {{flip_b}} - zero_x); }
}

fn finish(at: u32, of_filter: u32) {
    let sum = total;
{{epilogue}}
}
