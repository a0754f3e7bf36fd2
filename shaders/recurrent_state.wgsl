// States between their order in the model and the kernel's, [directions, sequences, elements]. Words: elements, sequences,
// directions, elements of a state, steps. The dispatch that comes first checks the sequences' lengths.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
#if lengths
    let length = lengths[(at / param(3u)) % param(1u)];
    if (length < 0 || u32(length) > param(4u)) {
        tell(bitcast<u32>(length), bitcast<u32>(length >> 31u), param(4u));
    }
#endif
#if batch_first
    let element = at % param(3u);
    let sequence = (at / param(3u)) % param(1u);
    let direction = at / param(3u) / param(1u);
    let there = (sequence * param(2u) + direction) * param(3u) + element;
#else
    let there = at;
#endif
#if restore
    states[there] = Out(kept[at]);
#else
#if given
    kept[at] = f32(states[there]);
#else
    kept[at] = 0.0;
#endif
#endif
}
