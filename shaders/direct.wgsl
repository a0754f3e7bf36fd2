// Convolution with few filters in a group, such as depthwise: an invocation for each output element. Words as in `conv.wgsl`, then the
// output's elements. An operator's room adds up: `begin(of_filter)` comes first, then `add(inside, x_at, w_at)` for each tap, whether or
// not it is inside of the image, then `finish(at, of_filter)`.

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(15u)) { return; }
    let pixel = at % param(1u);
    let plane = at / param(1u);
    let of_filter = plane % (param(0u) * param(3u));
    let batch = plane / param(0u);
    let channels = param(2u) / (param(6u) * param(7u));
    let top = (pixel / param(14u)) * param(8u) - param(12u);
    let left = (pixel % param(14u)) * param(9u) - param(13u);
    begin(of_filter);
    var w_at = of_filter * param(2u);
    for (var channel = 0u; channel < channels; channel++) {
        let image = (batch * channels + channel) * param(4u) * param(5u);
        for (var kh = 0u; kh < param(6u); kh++) {
            let ih = top + kh * param(10u);
            for (var kw = 0u; kw < param(7u); kw++) {
                let iw = left + kw * param(11u);
                add(ih < param(4u) && iw < param(5u), image + ih * param(5u) + iw, w_at);
                w_at++;
            }
        }
    }
    finish(at, of_filter);
}
