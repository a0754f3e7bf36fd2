// Quantisation. Words: elements; elements between neighbours of the axis, extent of the axis, blocks of the axis, elements of a
// block.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let place = {{place}};
    let value = x[at];
#if zero
    let origin = zero[place];
#else
    let origin = {{narrow}}(0);
#endif
#if dequantize
    y[at] = f32(i32(value) - i32(origin)) * scale[place];
#else
    let steps = round_even(quotient(value, scale[place])) + f32(origin);
    let narrowed = {{narrow}}(clamp(steps, {{least}}, {{greatest}}));
    y[at] = select(narrowed, {{narrow}}(0), is_nan(steps));
#endif
}
