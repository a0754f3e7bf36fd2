// Reductions over any axes. Words: outputs, elements of each.

{{buffers}}

{{functions}}

fn element(x: f32, shift: f32) -> f32 { return {{element}}; }
fn join(a: f32, b: f32) -> f32 { return {{join}}; }
fn finish(total: f32, shift: f32, count: f32) -> f32 { return {{finish}}; }

#if subgroups
/// The values of a subgroup joined.
fn across(value: f32) -> f32 { return {{across}}; }
#endif

fn joined(lane: u32, value: f32) -> f32 {
#if grouped
#if subgroups
    share(across(value));
    var total = {{neutral}};
    for (var first = 0u; first < subgroup_count; first += own_count) {
        if (first + own_place < subgroup_count) { total = join(total, lanes[first + own_place]); }
    }
    return across(total);
#else
    workgroupBarrier();
    lanes[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { lanes[lane] = join(lanes[lane], lanes[lane + half]); }
    }
    workgroupBarrier();
    return lanes[0];
#endif
#else
    return value;
#endif
}

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
    let start = kept(row);
    let count = param(1u);
    var shift = 0.0;
#if shifted
    shift = -infinity();
    for (var i = lane; i < count; i += LANES) { shift = max(shift, f32(x[start + reduced(i)])); }
    shift = greatest_of(lane, shift);
#endif
    var total = {{neutral}};
    for (var i = lane; i < count; i += LANES) { total = join(total, element(f32(x[start + reduced(i)]), shift)); }
    total = joined(lane, total);
    if (lane == 0u) { y[row] = Out(finish(total, shift, f32(count))); }
}
