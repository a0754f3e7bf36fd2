// Transposed convolution of volumes: each output element gathers what reaches it. Words: outputs, elements of an output volume; three
// each: output, kernel, strides, dilations, pads before; input height, width, depth; input and output channels of a group; groups. An
// image is a volume of depth 1.

{{buffers}}

/// Where along an axis the input lies that reaches `at` by `tap`; none if it is not less than the extent.
fn source(at: u32, tap: u32, axis: u32) -> u32 {
    let offset = tap * param(11u + axis);
    if (offset > at || (at - offset) % param(8u + axis) != 0u) { return 0xffffffffu; }
    return (at - offset) / param(8u + axis);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let place = at % param(1u);
    let maps = param(21u) * param(22u);
    let image = at / param(1u) / maps;
    let map = (at / param(1u)) % maps;
    let group_index = map / param(21u);
    let d = place / (param(3u) * param(4u)) + param(14u);
    let h = (place / param(4u)) % param(3u) + param(15u);
    let w = place % param(4u) + param(16u);
    let taps = param(5u) * param(6u) * param(7u);
    let volume = param(19u) * param(17u) * param(18u);
    let x_start = (image * param(22u) + group_index) * param(20u) * volume;
    let w_start = (group_index * param(20u) * param(21u) + map % param(21u)) * taps;
    var sum = 0.0;
    for (var kd = 0u; kd < param(5u); kd++) {
        let id = source(d, kd, 0u);
        if (id >= param(19u)) { continue; }
        for (var kh = 0u; kh < param(6u); kh++) {
            let ih = source(h, kh, 1u);
            if (ih >= param(17u)) { continue; }
            for (var kw = 0u; kw < param(7u); kw++) {
                let iw = source(w, kw, 2u);
                if (iw >= param(18u)) { continue; }
                var x_at = x_start + (id * param(17u) + ih) * param(18u) + iw;
                var w_at = w_start + (kd * param(6u) + kh) * param(7u) + kw;
                for (var channel = 0u; channel < param(20u); channel++) {
                    sum = fma(f32(x[x_at]), f32(weights[w_at]), sum);
                    x_at += volume;
                    w_at += param(21u) * taps;
                }
            }
        }
    }
#if bias
    sum += f32(bias[map]);
#endif
    y[at] = Out(sum);
}
