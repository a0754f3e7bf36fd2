// Quantisation by the range of the data: the ranges of its parts (`parts`), then scale and origin (`range`), then the elements. Word
// 0: elements, or parts; word 1: elements of a part.

{{buffers}}

@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    {{subgroup}}
) {
    {{enter}}
#if parts
    let part = row_of(workgroup, workgroups, local);
    if (part >= param(1u)) { return; }
    let lane = lane_of(local);
    let start = part * param(2u);
    let end = min(start + param(2u), param(0u));
    var least = 0.0;
    var greatest = 0.0;
    for (var i = start + lane; i < end; i += LANES) {
        least = min(least, x[i]);
        greatest = max(greatest, x[i]);
    }
    least = -greatest_of(lane, -least);
    greatest = greatest_of(lane, greatest);
    if (lane == 0u) { ranges[part] = vec2<f32>(least, greatest); }
#else
#if range
    let lane = lane_of(local);
    var least = 0.0;
    var greatest = 0.0;
    for (var i = lane; i < param(1u); i += LANES) {
        least = min(least, ranges[i].x);
        greatest = max(greatest, ranges[i].y);
    }
    least = -greatest_of(lane, -least);
    greatest = greatest_of(lane, greatest);
    if (lane == 0u) {
        let step = select(quotient(greatest - least, 255.0), 1.0, least == greatest);
        scale[0] = step;
        zero[0] = u32(clamp(round_even(quotient(-least, step)), 0.0, 255.0));
    }
#else
    let at = invocation(workgroup, workgroups, local, {{size}}u);
    if (at >= param(0u)) { return; }
    let steps = round_even(quotient(x[at], scale[0])) + f32(zero[0]);
    y[at] = select(u32(clamp(steps, 0.0, 255.0)), 0u, is_nan(steps));
#endif
#endif
}
