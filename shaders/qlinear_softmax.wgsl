// Softmax of rows of bytes, quantised. The exponentials of all distances from the greatest byte of a row are known. Words: rows,
// elements of a row, how far apart these are.

{{buffers}}

@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    {{subgroup}}
) {
    {{enter}}
    let row = row_of(workgroup, workgroups, local);
    if (row >= param(0u)) { return; }
    let lane = lane_of(local);
    let extent = param(1u);
    let step = param(2u);
    let start = (row / step) * extent * step + row % step;
    var most = i32(x[start]);
    for (var i = lane; i < extent; i += LANES) { most = max(most, i32(x[start + i * step])); }
    most = i32(greatest_of(lane, f32(most)));
    var sum = 0.0;
    for (var i = lane; i < extent; i += LANES) { sum += exponentials[most - i32(x[start + i * step])]; }
    sum = sum_of(lane, sum);
    for (var i = lane; i < extent; i += LANES) {
        let at = start + i * step;
        let steps = quotient(exponentials[most - i32(x[at])], sum) * bitcast<f32>({{factor}}u);
        y[at] = {{type}}(quantized(steps, {{zero}}, {{least}}, {{most}}));
    }
}
