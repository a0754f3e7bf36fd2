// Convolution of volumes as a matrix product: what `product.wgsl` asks for. Depth goes through (channel, kd, kh, kw). Words: filters of a
// group, elements of an output volume, depth, groups; three each: input, kernel, strides, dilations, pads before; output height,
// width.

{{buffers}}

fn begin(batch: u32) {
    let taps = param(7u) * param(8u) * param(9u);
    let elements = (param(2u) / taps) * param(4u) * param(5u) * param(6u);
    begin_filters(batch, param(0u), param(1u), param(2u), param(3u), elements);
}

#if loads
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
    return f32(x[x_start + ((channel * param(4u) + id) * param(5u) + ih) * param(6u) + iw]);
}
#endif
