// Windows over volumes: an invocation for each output element. Words: outputs, elements of an output volume; three each: input,
// kernel, strides, dilations, pads before; output height, width; pads behind, three. An image is a volume of depth 1.

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = invocation(workgroup, workgroups, local, 64u);
    if (at >= param(0u)) { return; }
    let place = at % param(1u);
    let volume = (at / param(1u)) * param(2u) * param(3u) * param(4u);
    let front = place / (param(17u) * param(18u)) * param(8u);
    let top = (place / param(18u)) % param(17u) * param(9u);
    let left = place % param(18u) * param(10u);
    var total = {{type}}({{neutral}});
    var count = 0u;
    for (var kd = 0u; kd < param(5u); kd++) {
        let d = front + kd * param(11u);
        // What lies before the volume wraps around.
        let id = d - param(14u);
        for (var kh = 0u; kh < param(6u); kh++) {
            let h = top + kh * param(12u);
            let ih = h - param(15u);
            for (var kw = 0u; kw < param(7u); kw++) {
                let w = left + kw * param(13u);
                let iw = w - param(16u);
                let inside = id < param(2u) && ih < param(3u) && iw < param(4u);
                if (inside) {
                    let value = {{type}}(x[volume + (id * param(3u) + ih) * param(4u) + iw]);
                    {{join}}
                }
#if count_include_pad
                let padded = d < param(14u) + param(2u) + param(19u) && h < param(15u) + param(3u) + param(20u)
                    && w < param(16u) + param(4u) + param(21u);
                if (padded) { count++; }
#else
                if (inside) { count++; }
#endif
            }
        }
    }
    y[at] = {{element}}({{finish}});
}
