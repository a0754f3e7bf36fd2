// Slices picked by tuples of indices; a tuple that names none gives zeros. Words, after those of `tuples.wgsl`: number of elements;
// elements of a slice.

alias T = {{type}};

@group(0) @binding(2) var<storage, read> input: array<T>;
@group(0) @binding(3) var<storage, read_write> output: array<T>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = invocation(workgroup, workgroups, local, 64u);
    if (index >= param({{count}}u)) { return; }
    let run = param({{count}}u + 1u);
    let slice = slice_of(index / run);
    var value = T();
    if (slice != NOWHERE) { value = input[slice * run + index % run]; }
    output[index] = value;
}
