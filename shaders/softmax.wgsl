// Softmax of rows. Words: rows, elements of a row, how far apart these are.

{{buffers}}

/// The exponential of an element's distance from the greatest of its row, which is not positive.
fn exponential(distance: f32) -> f32 { return {{exponential}}; }

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
    var greatest = f32(x[start]);
    for (var i = lane; i < extent; i += LANES) { greatest = max(greatest, f32(x[start + i * step])); }
    greatest = greatest_of(lane, greatest);
    var sum = 0.0;
    for (var i = lane; i < extent; i += LANES) { sum += exponential(f32(x[start + i * step]) - greatest); }
    sum = sum_of(lane, sum);
    let scale = 1.0 / sum;
    for (var i = lane; i < extent; i += LANES) {
        let at = start + i * step;
        let distance = f32(x[at]) - greatest;
        y[at] = {{result}};
    }
}
