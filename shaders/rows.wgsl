// Rows that are reduced: each by a workgroup, of whose invocations each takes every {{lanes}}th element, or each by an invocation.

const LANES = {{lanes}}u;

#if grouped
var<workgroup> lanes: array<f32, {{lanes}}>;

fn row_of(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32) -> u32 {
    return workgroup.y * workgroups.x + workgroup.x;
}

fn lane_of(local: u32) -> u32 { return local; }

#if subgroups
/// Puts a subgroup's value where all read it.
fn share(value: f32) {
    workgroupBarrier();
    if (own_place == 0u) { lanes[subgroup_number] = value; }
    workgroupBarrier();
}

/// Sums and maxima of the values of all invocations.
fn sum_of(lane: u32, value: f32) -> f32 {
    share(subgroupAdd(value));
    var total = 0.0;
    for (var first = 0u; first < subgroup_count; first += own_count) {
        if (first + own_place < subgroup_count) { total += lanes[first + own_place]; }
    }
    return subgroupAdd(total);
}

fn greatest_of(lane: u32, value: f32) -> f32 {
    share(subgroupMax(value));
    var total = lanes[0];
    for (var first = 0u; first < subgroup_count; first += own_count) {
        if (first + own_place < subgroup_count) { total = max(total, lanes[first + own_place]); }
    }
    return subgroupMax(total);
}
#else
/// Sums and maxima of the values of all invocations.
fn sum_of(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    lanes[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { lanes[lane] += lanes[lane + half]; }
    }
    workgroupBarrier();
    return lanes[0];
}

fn greatest_of(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    lanes[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { lanes[lane] = max(lanes[lane], lanes[lane + half]); }
    }
    workgroupBarrier();
    return lanes[0];
}
#endif
#else
fn row_of(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32) -> u32 {
    return invocation(workgroup, workgroups, local, 64u);
}

fn lane_of(local: u32) -> u32 { return 0u; }
fn sum_of(lane: u32, value: f32) -> f32 { return value; }
fn greatest_of(lane: u32, value: f32) -> f32 { return value; }
#endif
