// Means of windows over planar images of bytes: an invocation for each output element. For windows of each size `bounds` has the
// least sum of every result but the least one. Words: outputs, pixels of an output image; input height, width; kernel height, width;
// strides; dilations; pads above, left; output width.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let pixel = at % param(1u);
    let plane = (at / param(1u)) * param(2u) * param(3u);
    // What lies before the image wraps around.
    let top = (pixel / param(12u)) * param(6u) - param(10u);
    let left = (pixel % param(12u)) * param(7u) - param(11u);
    var sum = 0i;
    for (var kh = 0u; kh < param(4u); kh++) {
        let ih = top + kh * param(8u);
        if (ih >= param(2u)) { continue; }
        for (var kw = 0u; kw < param(5u); kw++) {
            let iw = left + kw * param(9u);
            if (iw < param(3u)) { sum += i32(x[plane + ih * param(3u) + iw]) - ({{zero}}); }
        }
    }
    // How many bounds the sum reaches.
    let first = slots[pixel] * {{steps}}u;
    var low = 0u;
    var high = {{steps}}u;
    while (low < high) {
        let middle = (low + high) / 2u;
        if (bounds[first + middle] <= sum) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    y[at] = {{type}}(i32(low) + ({{least}}));
}
