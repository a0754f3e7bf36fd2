// A step of a GRU: an invocation for each element of the state. Where the reset gate scales the state before its product, a first
// dispatch (`reset`) makes the scaled state. Words as in `recurrent.wgsl`.

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
    let hidden = param(4u);
    let d = place.direction;
    if (ended(place)) {
#if reset
        scaled[at] = 0.0;
#else
        h_new[at] = h_old[at];
        write_y(place, 0.0);
#endif
        return;
    }
    let from_input = projected_at(place, 3u);
    let h_start = at - place.element;
    var r_at = d * hidden * 3u * hidden + place.element;
#if reset
    var sum = projected[from_input + hidden];
    for (var i = 0u; i < hidden; i++) {
        sum = fma(r[r_at + hidden], h_old[h_start + i], sum);
        r_at += 3u * hidden;
    }
    scaled[at] = act0(d, clipped(sum)) * h_old[at];
#else
    var update_sum = projected[from_input];
    var new_sum = 0.0;
#if linear
    var reset_sum = projected[from_input + hidden];
#endif
    for (var i = 0u; i < hidden; i++) {
        let h = h_old[h_start + i];
        update_sum = fma(r[r_at], h, update_sum);
#if linear
        reset_sum = fma(r[r_at + hidden], h, reset_sum);
        new_sum = fma(r[r_at + 2u * hidden], h, new_sum);
#else
        new_sum = fma(r[r_at + 2u * hidden], scaled[h_start + i], new_sum);
#endif
        r_at += 3u * hidden;
    }
#if linear
#if bias
    new_sum += f32(bias[(d * 6u + 5u) * hidden + place.element]);
#endif
    new_sum *= act0(d, clipped(reset_sum));
#endif
    let candidate = act1(d, clipped(projected[from_input + 2u * hidden] + new_sum));
    let update_gate = act0(d, clipped(update_sum));
    let value = (1.0 - update_gate) * candidate + update_gate * h_old[at];
    h_new[at] = value;
    write_y(place, value);
#endif
}
