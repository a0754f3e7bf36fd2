// What `GroupQueryAttention` puts before its attention. `lengths`: for each batch the number of cached keys and of all keys. Else
// the rows of queries, or of a cache with the new keys or values after it, by heads, rotated by their places if that is asked for.
// Words: elements; rows of a head, width, heads, cached rows, new rows; distance of neighbouring new rows and where the first one
// starts; pairs that are rotated, rows of the tables.

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
    let total = max(given_total[0], 0);
    let keys = clamp(last_keys[at] + 1, 0, total);
    let new_rows = i32(param(5u));
    // A call of as many queries as there are keys starts anew.
    let before = select(max(keys - new_rows, 0), 0, new_rows == total);
    lengths[at] = vec2<u32>(u32(before), u32(keys));
#else
    let column = at % param(2u);
    let row = (at / param(2u)) % param(1u);
    let head = at / param(2u) / param(1u);
    let batch = head / param(3u);
    let before = lengths[batch].x;
#if queries
    let token = row;
#else
    if (row < before) {
        var cached = {{element}}(0.0);
#if past
        if (row < param(4u)) { cached = past_rows[(head * param(4u) + row) * param(2u) + column]; }
#endif
        all_rows[at] = cached;
        return;
    }
    let token = row - before;
    if (token >= param(5u)) {
        all_rows[at] = {{element}}(0.0);
        return;
    }
#endif
    let place = batch * param(5u) + token;
    let start = place * param(6u) + param(7u) + (head % param(3u)) * param(2u);
    let value = f32(new_rows[start + column]);
#if rotary
    let half = param(8u);
    if (column < 2u * half) {
#if positions
        // What is beyond the tables has no angle.
        let given = positions[place];
        let position = select(given.x, 0xffffffffu, given.y != 0u);
#else
        let position = before + token;
#endif
#if interleaved
        let pair = column / 2u;
        let is_first = column % 2u == 0u;
        let other = f32(new_rows[start + (column ^ 1u)]);
#else
        let pair = column % half;
        let is_first = column < half;
        let other = f32(new_rows[start + select(column - half, column + half, is_first)]);
#endif
        var turned = 0.0;
        if (position < param(9u)) {
            let angle = position * half + pair;
            turned = value * f32(cosines[angle]) + select(other, -other, is_first) * f32(sines[angle]);
        }
        all_rows[at] = {{element}}(turned);
        return;
    }
#endif
    all_rows[at] = {{element}}(value);
#endif
}
