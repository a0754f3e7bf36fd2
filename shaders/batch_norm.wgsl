// Batch normalisation by given moments. Words: elements, elements that share a channel, channels, epsilon.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let channel = (at / param(1u)) % param(2u);
    let inverse = 1.0 / sqrt(f32(variance[channel]) + bitcast<f32>(param(3u)));
    let centred = f32(x[at]) - f32(mean[channel]);
    y[at] = Out(centred * inverse * f32(scale[channel]) + f32(bias[channel]));
}
