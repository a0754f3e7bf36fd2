// Elements picked along an axis by index; an index that is not on the axis gives zero. Words: number of elements; extent of the
// axis; elements from one of its places to the next; then the loops over the indices, which walk the data but for the axis.

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
    let at = position(indices[index], param(1u));
{{offsets}}
    var value = T();
    if (at != NOWHERE) { value = input[offset0 + at * param(2u)]; }
    output[index] = value;
}
