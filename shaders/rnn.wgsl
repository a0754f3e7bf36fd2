// A step of an RNN: an invocation for each element of the state. Words as in `recurrent.wgsl`.

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
    var sum = projected[projected_at(place, 1u)];
    let h_start = at - place.element;
    var r_at = place.direction * hidden * hidden + place.element;
    for (var i = 0u; i < hidden; i++) {
        sum = fma(r[r_at], h_old[h_start + i], sum);
        r_at += hidden;
    }
    let value = act0(place.direction, clipped(sum));
    h_new[at] = value;
    write_y(place, value);
}
