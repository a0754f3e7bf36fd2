// Convolution of one channel by each filter: an invocation for four neighbours of an output row. Words as in `conv.wgsl`; then the output's
// elements, fours of an output row, and all fours.

{{buffers}}

{{activation}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = invocation(workgroup, workgroups, local, 64u);
    if (id >= param(17u)) { return; }
    let width = param(14u);
    let column = id % param(16u) * 4u;
    let rows = param(1u) / width;
    let row = id / param(16u) % rows;
    let plane = id / param(16u) / rows;
    let filter_index = plane % (param(0u) * param(3u));
    let image = plane / param(0u) * param(4u) * param(5u);
    let top = row * param(8u) - param(12u);
    let left = column * param(9u) - param(13u);
    let first_weight = filter_index * param(2u);
    var sums = vec4<f32>();
{{taps}}
#if bias
    sums += vec4<f32>(f32(bias[filter_index]));
#endif
    let at = plane * param(1u) + row * width + column;
    put(at, sums.x);
    if (column + 1u < width) { put(at + 1u, sums.y); }
    if (column + 2u < width) { put(at + 2u, sums.z); }
    if (column + 3u < width) { put(at + 3u, sums.w); }
}

/// An element of a row of the image that starts at `start`; 0 outside of it, or where the row is none. What lies before the image has
/// wrapped around.
fn pixel(start: u32, inside: bool, at: u32) -> f32 {
    if (!inside || at >= param(5u)) { return 0.0; }
    return f32(x[start + at]);
}

fn put(at: u32, sum: f32) {
    var value = sum;
#if residual
    value += f32(residual[at]);
#endif
    output[at] = Out(activate(value));
}
