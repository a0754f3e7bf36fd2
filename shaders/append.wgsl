// Rows of a cache and those that follow it, by heads. Words: elements, rows in all, cached rows, width, heads of a batch; distances
// of batches, heads and rows of the new ones.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let column = at % param(3u);
    let row = (at / param(3u)) % param(1u);
    let head = at / param(3u) / param(1u);
    if (row >= param(2u)) {
        let new_start = (head / param(4u)) * param(5u) + (head % param(4u)) * param(6u);
        all_rows[at] = new_rows[new_start + (row - param(2u)) * param(7u) + column];
    } else {
#if past
        all_rows[at] = past_rows[(head * param(2u) + row) * param(3u) + column];
#endif
    }
}
