// Local response normalisation. Words: elements, elements of a channel, channels, neighbours before, neighbours with the channel
// itself after, alpha by the number of neighbours, beta, bias.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let plane = param(1u);
    let channel = (at / plane) % param(2u);
    let image = at - channel * plane;
    let first = channel - min(channel, param(3u));
    let end = min(channel + param(4u), param(2u));
    var sum = 0.0;
    for (var c = first; c < end; c++) {
        let value = f32(x[image + c * plane]);
        sum = fma(value, value, sum);
    }
    let mean = bitcast<f32>(param(5u)) * sum;
    y[at] = Out(f32(x[at]) / power(bitcast<f32>(param(7u)) + mean, bitcast<f32>(param(6u))));
}
