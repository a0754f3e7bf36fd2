// Runs of elements picked along an axis by index; an index that is not on the axis gives zeros. Words: number of elements; elements
// of a run; number of indices; extent of the axis.

alias T = {{type}};

@group(0) @binding(1) var<storage, read> input: array<T>;
@group(0) @binding(2) var<storage, read> indices: array<Index>;
@group(0) @binding(3) var<storage, read_write> output: array<T>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = invocation(workgroup, workgroups, local, 64u);
    if (index >= param(0u)) { return; }
    let column = index % param(1u);
    let row = index / param(1u);
    let at = position(indices[row % param(2u)], param(3u));
    var value = T();
    if (at != NOWHERE) { value = input[(row / param(2u) * param(3u) + at) * param(1u) + column]; }
    output[index] = value;
}
