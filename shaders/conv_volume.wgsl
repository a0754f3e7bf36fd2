// Convolution of volumes as a matrix product: what `tile.wgsl` asks for. Rows are the filters of a group, columns the elements of a
// volume, depth goes through (channel, kd, kh, kw). Words: filters of a group, elements of an output volume, depth, groups; three
// each: input, kernel, strides, dilations, pads before; output height, width.

{{buffers}}

var<private> x_start: u32;
var<private> w_start: u32;
var<private> y_start: u32;
var<private> first_filter: u32;

fn begin(batch: u32) {
    m = param(0u);
    n = param(1u);
    k = param(2u);
    let group = batch % param(3u);
    let taps = param(7u) * param(8u) * param(9u);
    x_start = batch * (k / taps) * param(4u) * param(5u) * param(6u);
    w_start = group * m * k;
    y_start = batch * m * n;
    first_filter = group * m;
}

fn load_a(row: u32, depth: u32) -> f32 { return w[w_start + row * k + depth]; }

fn load_b(depth: u32, column: u32) -> f32 {
    let kw = depth % param(9u);
    let kh = (depth / param(9u)) % param(8u);
    let kd = (depth / (param(9u) * param(8u))) % param(7u);
    let channel = depth / (param(9u) * param(8u) * param(7u));
    let id = column / (param(19u) * param(20u)) * param(10u) + kd * param(13u) - param(16u);
    let ih = (column / param(20u)) % param(19u) * param(11u) + kh * param(14u) - param(17u);
    let iw = column % param(20u) * param(12u) + kw * param(15u) - param(18u);
    // What lies before the volume has wrapped around.
    if (id >= param(4u) || ih >= param(5u) || iw >= param(6u)) { return 0.0; }
    return x[x_start + ((channel * param(4u) + id) * param(5u) + ih) * param(6u) + iw];
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
