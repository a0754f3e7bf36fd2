// Adds the parts of sums that `tile.wgsl` has left, and gives them to the operator's `store`: an invocation for four columns.

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    let count = param({{split_words}}u);
    begin(0u);
    let n4 = (n + 3u) / 4u;
    let batch = at / (m * n4);
    if (batch >= param({{split_words}}u + 2u)) { return; }
    begin(batch);
    let place = at % (m * n4);
    var sum = vec4<f32>();
    for (var i = 0u; i < count; i++) { sum += parts[(batch * count + i) * m * n4 + place]; }
    four_y(batch, place / n4, place % n4 * 4u, sum);
}
