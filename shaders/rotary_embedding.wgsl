// Rotation of pairs of elements by their places. Words: elements, elements of a head, places of a sequence, heads, elements of a head
// that are rotated, rows of the tables.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let column = at % param(1u);
    if (column >= param(4u)) {
        y[at] = Out(f32(x[at]));
        return;
    }
    let index = at / param(1u);
#if heads_first
    let place = index / (param(3u) * param(2u)) * param(2u) + index % param(2u);
#else
    let place = index / param(3u);
#endif
#if positions
#if offset
    let position = vec2<u32>(positions[0].x + place % param(2u), positions[0].y);
#else
    let position = positions[place];
#endif
    if (position.y != 0u || position.x >= param(5u)) {
#if faults
        tell(position.x, position.y, param(5u));
#endif
        y[at] = Out(0.0);
        return;
    }
    let row = position.x;
#else
    let row = place;
#endif
    let half = param(4u) / 2u;
#if interleaved
    let pair = column / 2u;
    let is_first = column % 2u == 0u;
    let other = select(at - 1u, at + 1u, is_first);
#else
    let pair = column % half;
    let is_first = column < half;
    let other = select(at - half, at + half, is_first);
#endif
    let cosine = f32(cosines[row * half + pair]);
    let sine = f32(sines[row * half + pair]);
    let beside = f32(x[other]);
    y[at] = Out(f32(x[at]) * cosine + select(beside, -beside, is_first) * sine);
}
