// Convolution of planar images as a matrix product: what `tile.wgsl` asks for. Rows are the filters of a group, columns the pixels
// of an image, depth goes through (channel, kh, kw). Words: filters of a group, pixels, depth, groups; input height, width;
// kernel height, width; strides; dilations; pads above, left; output width; output elements; products of a block.

{{buffers}}

var<private> x_start: u32;
var<private> w_start: u32;
var<private> y_start: u32;
var<private> first_filter: u32;

fn begin(batch: u32) {
    m = param(0u);
    n = param(1u);
    k = param(2u);
    block = param(16u);
    let group = batch % param(3u);
    x_start = batch * (k / (param(6u) * param(7u))) * param(4u) * param(5u);
    w_start = group * m * k;
    y_start = batch * m * n;
    first_filter = group * m;
}

fn load_a(row: u32, depth: u32) -> f32 { return w[w_start + row * k + depth]; }

fn load_b(depth: u32, column: u32) -> f32 {
#if pointwise
    return x[x_start + depth * n + column];
#else
    let taps = param(6u) * param(7u);
    let channel = depth / taps;
    let tap = depth % taps;
    let ih = (column / param(14u)) * param(8u) + (tap / param(7u)) * param(10u) - param(12u);
    let iw = (column % param(14u)) * param(9u) + (tap % param(7u)) * param(11u) - param(13u);
    // What lies before the image has wrapped around.
    if (ih >= param(4u) || iw >= param(5u)) { return 0.0; }
    return x[x_start + (channel * param(4u) + ih) * param(5u) + iw];
#endif
}

{{activation}}

fn store(row: u32, column: u32, sum: f32) {
    let at = y_start + row * n + column;
    var value = sum;
#if bias
    value += bias[first_filter + row];
#endif
#if residual
    value += residual[at];
#endif
    output[at] = activate(value);
}
