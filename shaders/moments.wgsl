// Normalisation of rows by their moments. Words: rows, elements of a row, epsilon.

{{buffers}}

{{functions}}

fn load(row: u32, i: u32, at: u32) -> f32 { return {{load}}; }

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
    let start = row * extent;
    var mean = 0.0;
#if centred
    for (var i = lane; i < extent; i += LANES) { mean += load(row, i, start + i); }
    mean = sum_of(lane, mean) / f32(extent);
#endif
    var squares = 0.0;
    for (var i = lane; i < extent; i += LANES) {
        let distance = load(row, i, start + i) - mean;
        squares = fma(distance, distance, squares);
    }
    let inverse = 1.0 / sqrt(sum_of(lane, squares) / f32(extent) + bitcast<f32>(param(2u)));
    for (var i = lane; i < extent; i += LANES) {
        let at = start + i;
        let loaded = load(row, i, at);
        let value = (loaded - mean) * inverse;
        y[at] = Out({{result}});
#if sum
        sum[at] = Out(loaded);
#endif
    }
}
