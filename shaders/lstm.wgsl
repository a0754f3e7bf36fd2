// A step of an LSTM: an invocation for each element of the states. Words as in `recurrent.wgsl`.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let place = place_of(at);
    if (ended(place)) {
        h_new[at] = h_old[at];
        write_y(place, 0.0);
        return;
    }
    let hidden = param(4u);
    let d = place.direction;
    let from_input = projected_at(place, 4u);
    var sums = vec4<f32>(
        projected[from_input],
        projected[from_input + hidden],
        projected[from_input + 2u * hidden],
        projected[from_input + 3u * hidden],
    );
    let h_start = at - place.element;
    var r_at = d * hidden * 4u * hidden + place.element;
    for (var i = 0u; i < hidden; i++) {
        let weights = vec4<f32>(r[r_at], r[r_at + hidden], r[r_at + 2u * hidden], r[r_at + 3u * hidden]);
        sums = fma(weights, vec4<f32>(h_old[h_start + i]), sums);
        r_at += 4u * hidden;
    }
    let old = c[at];
#if peepholes
    let p_start = d * 3u * hidden + place.element;
    sums.x += f32(peepholes[p_start]) * old;
    sums.z += f32(peepholes[p_start + 2u * hidden]) * old;
#endif
    let input_gate = act0(d, clipped(sums.x));
#if input_forget
    let forget_gate = 1.0 - input_gate;
#else
    let forget_gate = act0(d, clipped(sums.z));
#endif
    let cell = forget_gate * old + input_gate * act1(d, clipped(sums.w));
#if peepholes
    sums.y += f32(peepholes[p_start + hidden]) * cell;
#endif
    let value = act0(d, clipped(sums.y)) * act2(d, cell);
    c[at] = cell;
    h_new[at] = value;
    write_y(place, value);
}
