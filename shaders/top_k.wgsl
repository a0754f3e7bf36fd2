// The first elements of each row in falling or rising order, one after the other. Words: rows, elements of a row, how far apart
// these are, how many are wanted.

{{buffers}}

const NONE = 4294967295u;

struct Entry { value: f32, index: u32 }

#if grouped
var<workgroup> entries: array<Entry, {{lanes}}>;
#endif

/// Among equals the one that stands first comes first; NaN is the largest.
fn precedes(a: Entry, b: Entry) -> bool {
    let a_nan = is_nan(a.value);
    let b_nan = is_nan(b.value);
    if (a.value == b.value || (a_nan && b_nan)) { return a.index < b.index; }
#if largest
    return select(a.value > b.value, a_nan, a_nan != b_nan);
#else
    return select(a.value < b.value, b_nan, a_nan != b_nan);
#endif
}

fn first_of(a: Entry, b: Entry) -> Entry {
    if (a.index == NONE || (b.index != NONE && precedes(b, a))) { return b; }
    return a;
}

#if subgroups
/// The first of a subgroup.
fn across(entry: Entry) -> Entry {
    let exists = entry.index != NONE;
    let lost = is_nan(entry.value);
    let any_lost = subgroupAny(exists && lost);
    let any_number = subgroupAny(exists && !lost);
#if largest
    let value = subgroupMax(select(-infinity(), entry.value, exists && !lost));
    let of_lost = any_lost;
#else
    let value = subgroupMin(select(infinity(), entry.value, exists && !lost));
    let of_lost = any_lost && !any_number;
#endif
    let wins = exists && select(!lost && entry.value == value, lost, of_lost);
    return Entry(select(value, nan(), of_lost), subgroupMin(select(NONE, entry.index, wins)));
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
    let y_start = (row / step) * param(3u) * step + row % step;
    var last = Entry(0.0, NONE);
    for (var n = 0u; n < param(3u); n++) {
        var found = Entry(0.0, NONE);
        for (var i = lane; i < extent; i += LANES) {
            let entry = Entry(f32(x[start + i * step]), i);
            if (n == 0u || precedes(last, entry)) { found = first_of(found, entry); }
        }
#if grouped
#if subgroups
        found = across(found);
        workgroupBarrier();
        if (own_place == 0u) { entries[subgroup_number] = found; }
        workgroupBarrier();
        found = entries[0];
        for (var first = 0u; first < subgroup_count; first += own_count) {
            if (first + own_place < subgroup_count) { found = first_of(found, entries[first + own_place]); }
        }
        last = across(found);
#else
        workgroupBarrier();
        entries[lane] = found;
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if (lane < half) { entries[lane] = first_of(entries[lane], entries[lane + half]); }
        }
        workgroupBarrier();
        last = entries[0];
#endif
#else
        last = found;
#endif
        if (lane == 0u) {
#if values
            y[y_start + n * step] = Out(last.value);
#endif
#if indices
            indices[y_start + n * step] = vec2<u32>(last.index, 0u);
#endif
        }
    }
}
