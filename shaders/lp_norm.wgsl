// Rows divided by their norms. Words: rows, elements of a row, how far apart these are.

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
    var sum = 0.0;
    for (var i = lane; i < extent; i += LANES) {
        let value = f32(x[start + i * step]);
#if squares
        sum = fma(value, value, sum);
#else
        sum += abs(value);
#endif
    }
    sum = sum_of(lane, sum);
#if squares
    let norm = sqrt(sum);
#else
    let norm = sum;
#endif
    for (var i = lane; i < extent; i += LANES) {
        let at = start + i * step;
        y[at] = Out(select(f32(x[at]) / norm, 0.0, norm == 0.0));
    }
}
