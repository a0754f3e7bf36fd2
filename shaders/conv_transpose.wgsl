// Transposed convolution of planar images: each output element gathers what reaches it. Words: outputs, pixels of an output image;
// output height, width; kernel height, width; strides; dilations; pads above, left; input width, height; input and output channels
// of a group; groups.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let pixel = at % param(1u);
    let maps = param(15u) * param(16u);
    let image = at / param(1u) / maps;
    let map = (at / param(1u)) % maps;
    let group_index = map / param(15u);
    let h = pixel / param(3u) + param(10u);
    let w = pixel % param(3u) + param(11u);
    let taps = param(4u) * param(5u);
    let plane = param(13u) * param(12u);
    let x_start = (image * param(16u) + group_index) * param(14u) * plane;
    let w_start = (group_index * param(14u) * param(15u) + map % param(15u)) * taps;
    var sum = 0.0;
    for (var kh = 0u; kh < param(4u); kh++) {
        let down = kh * param(8u);
        if (down > h || (h - down) % param(6u) != 0u) { continue; }
        let ih = (h - down) / param(6u);
        if (ih >= param(13u)) { continue; }
        for (var kw = 0u; kw < param(5u); kw++) {
            let right = kw * param(9u);
            if (right > w || (w - right) % param(7u) != 0u) { continue; }
            let iw = (w - right) / param(7u);
            if (iw >= param(12u)) { continue; }
            var x_at = x_start + ih * param(12u) + iw;
            var w_at = w_start + kh * param(5u) + kw;
            for (var channel = 0u; channel < param(14u); channel++) {
                sum = fma(f32(x[x_at]), f32(weights[w_at]), sum);
                x_at += plane;
                w_at += param(15u) * taps;
            }
        }
    }
#if bias
    sum += f32(bias[map]);
#endif
    y[at] = Out(sum);
}
