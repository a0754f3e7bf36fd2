// Padding. Words: number of elements, the two of the constant, then those of the axes.

alias T = {{type}};

@group(0) @binding(1) var<storage, read_write> output: array<T>;
{{buffers}}

/// Where the element comes from that stands `at` places after the first one of an axis of `extent`; outside of it, for a constant.
fn source(at: i32, extent: i32) -> i32 {
#if edge
    return clamp(at, 0, extent - 1);
#endif
#if wrap
    return rest_of(at, extent);
#endif
#if reflect
    if (extent == 1) { return 0; }
    let folded = rest_of(at, 2 * extent - 2);
    return min(folded, 2 * extent - 2 - folded);
#endif
#if constant
    return at;
#endif
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = invocation(workgroup, workgroups, local, 64u);
    if (index >= param(0u)) { return; }
    var rest = index;
    var from_ = 0u;
    var inside = true;
    var place = 0i;
{{axes}}
    var value = {{fill}};
#if data
    if (inside) { value = input[from_]; }
#endif
    output[index] = value;
}
