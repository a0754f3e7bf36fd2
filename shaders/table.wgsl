// Functions of bytes as tables, whose bytes stand four to a word. Words: elements; then those of the places of x and y.

{{buffers}}

{{functions}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
#if two
    let place = (u32(x[place_x(at)]) & 0xffu) * 256u + (u32(y[place_y(at)]) & 0xffu);
#else
    let place = u32(x[at]) & 0xffu;
#endif
    output[at] = extractBits({{type}}(table[place / 4u]), 8u * (place % 4u), 8u);
}
