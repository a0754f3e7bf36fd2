// Convolution with few filters in a group, such as depthwise: an invocation for each output element. Words as in `conv.wgsl`.

{{buffers}}

{{activation}}

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
    let filter_index = plane % (param(0u) * param(3u));
    let batch = plane / param(0u);
    let channels = param(2u) / (param(6u) * param(7u));
    let top = (pixel / param(14u)) * param(8u) - param(12u);
    let left = (pixel % param(14u)) * param(9u) - param(13u);
    var sum = 0.0;
    // Products that are summed before they come to `sum`: a block of them; of a filter alone four, two or one.
    var block = 0.0;
    var first = 0u;
    var count = 0u;
    let depth = param(2u);
    for (var channel = 0u; channel < channels; channel++) {
        let image = x_plane(batch, channels, channel);
        for (var kh = 0u; kh < param(6u); kh++) {
            let ih = top + kh * param(10u);
            for (var kw = 0u; kw < param(7u); kw++) {
                let iw = left + kw * param(11u);
                var value = 0.0;
                if (ih < param(4u) && iw < param(5u)) { value = f32(x[image + ih * param(5u) + iw]); }
                let weight = f32(w[filter_index * depth + count]);
                count++;
#if alone
                block = select(block + weight * value, weight * value, count - 1u == first);
                let left_over = depth - first;
                let size = select(select(1u, 2u, left_over >= 2u), 4u, left_over >= 4u);
#else
                block = fma(weight, value, block);
                let size = min(param(16u), depth - first);
#endif
                if (count - first == size) {
                    sum += block;
                    block = 0.0;
                    first = count;
                }
            }
        }
    }
#if bias
    sum += f32(bias[filter_index]);
#endif
#if residual
    sum += f32(residual[at]);
#endif
    output[at] = Out(activate(sum));
}

fn x_plane(batch: u32, channels: u32, channel: u32) -> u32 {
    return (batch * channels + channel) * param(4u) * param(5u);
}
