// The index of the greatest or least element of each row. Words: rows, elements of a row, how far apart these are.

{{buffers}}

struct Best { value: f32, index: u32 }

#if grouped
var<workgroup> bests: array<Best, {{lanes}}>;
#endif

/// NaN counts as the greatest and as the least; of equals the first or the last one wins.
fn best(a: Best, b: Best) -> Best {
    let a_nan = is_nan(a.value);
    let b_nan = is_nan(b.value);
    let equal = a.value == b.value || (a_nan && b_nan);
#if last
    let earlier = b.index > a.index;
#else
    let earlier = b.index < a.index;
#endif
#if greatest
    let beyond = b.value > a.value;
#else
    let beyond = b.value < a.value;
#endif
    let wins = select(select(beyond, b_nan, a_nan != b_nan), earlier, equal);
    if (wins) { return b; }
    return a;
}

#if subgroups
/// The best of a subgroup.
fn across(found: Best) -> Best {
    let lost = is_nan(found.value);
    let any_lost = subgroupAny(lost);
#if greatest
    let value = subgroupMax(select(found.value, -infinity(), lost));
#else
    let value = subgroupMin(select(found.value, infinity(), lost));
#endif
    let wins = select(found.value == value, lost, any_lost);
#if last
    let index = subgroupMax(select(0u, found.index, wins));
#else
    let index = subgroupMin(select(4294967295u, found.index, wins));
#endif
    return Best(select(value, nan(), any_lost), index);
}
#endif

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
    // A lane beyond the row begins with the row's first element, as some lane does anyway.
    let nearest = select(0u, lane, lane < extent);
    var found = Best(f32(x[start + nearest * step]), nearest);
    for (var i = lane; i < extent; i += LANES) { found = best(found, Best(f32(x[start + i * step]), i)); }
#if grouped
#if subgroups
    found = across(found);
    if (own_place == 0u) { bests[subgroup_number] = found; }
    workgroupBarrier();
    found = bests[0];
    for (var first = 0u; first < subgroup_count; first += own_count) {
        if (first + own_place < subgroup_count) { found = best(found, bests[first + own_place]); }
    }
    found = across(found);
    if (lane == 0u) { y[row] = vec2<u32>(found.index, 0u); }
#else
    bests[lane] = found;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { bests[lane] = best(bests[lane], bests[lane + half]); }
    }
    if (lane == 0u) { y[row] = vec2<u32>(bests[0].index, 0u); }
#endif
#else
    y[row] = vec2<u32>(found.index, 0u);
#endif
}
