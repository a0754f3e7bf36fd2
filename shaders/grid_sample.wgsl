// Samples of an image at places that a grid gives: an invocation for each output element. Words: outputs, places of an image,
// channels, elements of a plane; then the extents of its axes.

{{buffers}}

const AXES = {{axes}}u;
const TAPS = {{taps}}u;

/// The element at `index` of an axis; -1 for a zero.
fn element(index: i32, extent: i32) -> i32 {
    if (index >= 0 && index < extent) { return index; }
#if border
    return clamp(index, 0, extent - 1);
#else
#if reflection
#if align_corners
    let period = 2 * (extent - 1);
    let shift = 0;
#else
    let period = 2 * extent;
    let shift = 1;
#endif
    if (period == 0) { return 0; }
    let turned = rest_of(index, period);
    return select(turned, period - shift - turned, turned >= extent);
#else
    return -1;
#endif
#endif
}

#if cubic
/// Cubic convolution of coefficient -0.75.
fn cubic(distance: f32) -> f32 {
    let d = abs(distance);
    if (d <= 1.0) { return (1.25 * d - 2.25) * d * d + 1.0; }
    return ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0;
}
#endif

fn weight_of(tap: u32, ratio: f32) -> f32 {
#if cubic
    return cubic(ratio + 1.0 - f32(tap));
#else
#if linear
    return select(1.0 - ratio, ratio, tap == 1u);
#else
    return 1.0;
#endif
#endif
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let plane = at / param(1u);
    let place = plane / param(2u) * param(1u) + at % param(1u);
    var first: array<i32, {{axes}}>;
    var ratio: array<f32, {{axes}}>;
    for (var axis = 0u; axis < AXES; axis++) {
        // The grid has the last axis first.
        let normal = f32(grid[place * AXES + AXES - 1u - axis]);
        let extent = f32(param(4u + axis));
#if align_corners
        let exact = (normal + 1.0) / 2.0 * (extent - 1.0);
#else
        let exact = ((normal + 1.0) * extent - 1.0) / 2.0;
#endif
        // Beyond this, floats no longer tell elements apart.
        let near = select(clamp(exact, -1e9, 1e9), -1e9, is_nan(exact));
#if nearest
        first[axis] = i32(round_even(near));
#else
        first[axis] = i32(floor(near)) - {{before}};
        ratio[axis] = near - floor(near);
#endif
    }
#if nearest
    var total = {{type}}(0);
#else
    var total = 0.0;
#endif
    for (var tap = 0u; tap < {{all_taps}}u; tap++) {
        var rest = tap;
        var offset = 0;
        var weight = 1.0;
        var inside = true;
        for (var axis = 0u; axis < AXES; axis++) {
            let own = rest % TAPS;
            rest /= TAPS;
            let extent = i32(param(4u + axis));
            let found = element(first[axis] + i32(own), extent);
            inside = inside && found >= 0;
            offset = offset * extent + max(found, 0);
            weight *= weight_of(own, ratio[axis]);
        }
        if (inside) {
            let value = {{type}}(x[plane * param(3u) + u32(offset)]);
#if nearest
            total = value;
#else
            total += weight * value;
#endif
        }
    }
    y[at] = {{element}}(total);
}
