// Convolution of 8-bit integers with few filters in a group, such as depthwise: an invocation for each output element. Words as in
// `integer_conv.wgsl`.

{{buffers}}

{{zeros}}

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
    let taps = param(6u) * param(7u);
    let channels = param(2u) / taps;
    let top = (pixel / param(14u)) * param(8u) - param(12u);
    let left = (pixel % param(14u)) * param(9u) - param(13u);
    let zero_w = filter_zero(of_filter);
    let zero_x = zero_b(0u);
    var sum = 0i;
    for (var channel = 0u; channel < channels; channel++) {
        let image = (batch * channels + channel) * param(4u) * param(5u);
        for (var kh = 0u; kh < param(6u); kh++) {
            let ih = top + kh * param(10u);
            if (ih >= param(4u)) { continue; }
            for (var kw = 0u; kw < param(7u); kw++) {
                let iw = left + kw * param(11u);
                if (iw >= param(5u)) { continue; }
                let tap = (of_filter * channels + channel) * taps + kh * param(7u) + kw;
                let weight = i32(w[tap]) - {{flip_a}} - zero_w;
                sum += weight * (i32(x[image + ih * param(5u) + iw]) - {{flip_b}} - zero_x);
            }
        }
    }
{{epilogue}}
}
