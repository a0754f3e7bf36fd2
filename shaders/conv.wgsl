// Convolution of planar images as a matrix product: what `product.wgsl` asks for. Depth goes through (channel, kh, kw). Words: filters of
// a group, pixels, depth, groups; input height, width; kernel height, width; strides; dilations; pads above, left; output width.

{{buffers}}

const KERNEL_WIDTH = {{kernel_width}}u;
const TAPS = {{taps}}u;

fn begin(batch: u32) {
    begin_filters(batch, param(0u), param(1u), param(2u), param(3u), (param(2u) / TAPS) * param(4u) * param(5u));
}

#if loads
#if pointwise
#if wide_b
fn load_b(depth: u32, column: u32) -> vec4<f32> { return vec4<f32>(x[(x_start + depth * n + column) / 4u]); }
#else
fn load_b(depth: u32, column: u32) -> f32 { return f32(x[x_start + depth * n + column]); }
#endif
#else
/// Where the window of each of four pixels begins; what lies before the image has wrapped around.
var<private> tops: vec4<u32>;
var<private> lefts: vec4<u32>;

fn begin_columns(column: u32) {
    let pixels = vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u);
    tops = (pixels / param(14u)) * param(8u) - param(12u);
    lefts = (pixels % param(14u)) * param(9u) - param(13u);
    // A pixel that is none has its window outside.
    tops = select(tops, vec4<u32>(0x80000000u), pixels >= vec4<u32>(n));
}

fn four_b(depth: u32, column: u32) -> vec4<f32> {
    var value = vec4<f32>();
    if (depth >= k) { return value; }
    let channel = depth / TAPS;
    let tap = depth % TAPS;
    let ih = tops + (tap / KERNEL_WIDTH) * param(10u);
    let iw = lefts + (tap % KERNEL_WIDTH) * param(11u);
    let inside = (ih < vec4<u32>(param(4u))) & (iw < vec4<u32>(param(5u)));
    let at = ih * param(5u) + iw + (x_start + channel * param(4u) * param(5u));
    if (inside.x) { value.x = f32(x[at.x]); }
    if (inside.y) { value.y = f32(x[at.y]); }
    if (inside.z) { value.z = f32(x[at.z]); }
    if (inside.w) { value.w = f32(x[at.w]); }
    return value;
}
#endif
#endif
