// Windows over planar images: an invocation for each output element. Words: outputs, pixels of an output image; input height,
// width; kernel height, width; strides; dilations; pads above, left; output width; pads below, right.

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
    let top = (pixel / param(12u)) * param(6u);
    let left = (pixel % param(12u)) * param(7u);
    var total = {{type}}({{neutral}});
    var count = 0u;
    for (var kh = 0u; kh < param(4u); kh++) {
        let h = top + kh * param(8u);
        for (var kw = 0u; kw < param(5u); kw++) {
            let w = left + kw * param(9u);
            // What lies before the image wraps around.
            let ih = h - param(10u);
            let iw = w - param(11u);
            let inside = ih < param(2u) && iw < param(3u);
            if (inside) {
                let value = {{type}}(x[plane + ih * param(3u) + iw]);
                {{join}}
            }
#if count_include_pad
            if (h < param(10u) + param(2u) + param(13u) && w < param(11u) + param(3u) + param(14u)) { count++; }
#else
            if (inside) { count++; }
#endif
        }
    }
    y[at] = {{element}}({{finish}});
}
