// The same element everywhere. Words: number of elements; the element's two.

alias T = {{type}};

@group(0) @binding(1) var<storage, read_write> output: array<T>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = invocation(workgroup, workgroups, local, 64u);
    if (index < param(0u)) { output[index] = {{value}}; }
}
