// Copies of elements between strided index spaces, several in one dispatch: each takes as many invocations as it has elements.

alias T = {{type}};

{{buffers}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var index = invocation(workgroup, workgroups, local, 64u);
{{copies}}
}
