// What the inputs give to the gates of all steps: [steps, directions, sequences, gates]. Words: elements, steps, sequences,
// directions, elements of an input, gates together, gates that the second bias goes to.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let gates = param(5u);
    let gate = at % gates;
    let sequence = (at / gates) % param(2u);
    let direction = (at / gates / param(2u)) % param(3u);
    let step = at / gates / param(2u) / param(3u);
#if batch_first
    let x_start = (sequence * param(1u) + step) * param(4u);
#else
    let x_start = (step * param(2u) + sequence) * param(4u);
#endif
    var sum = 0.0;
    var w_at = direction * param(4u) * gates + gate;
    for (var i = 0u; i < param(4u); i++) {
        sum = fma(f32(x[x_start + i]), w[w_at], sum);
        w_at += gates;
    }
#if bias
    sum += f32(bias[direction * 2u * gates + gate]);
    if (gate < param(6u)) { sum += f32(bias[(direction * 2u + 1u) * gates + gate]); }
#endif
    projected[at] = sum;
}
