// A new axis, on which one place is on. Words: number of elements; extent of the new axis; elements of its places.

alias T = {{type}};

@group(0) @binding(1) var<storage, read> input: array<{{given}}>;
@group(0) @binding(2) var<storage, read> values: array<T>;
@group(0) @binding(3) var<storage, read_write> output: array<T>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = invocation(workgroup, workgroups, local, 64u);
    if (index >= param(0u)) { return; }
    let column = index % param(2u);
    let place = index / param(2u) % param(1u);
    let outer = index / param(2u) / param(1u);
    let x = input[outer * param(2u) + column];
    let at = position({{as_index}}, param(1u));
    output[index] = values[select(0u, 1u, at == place)];
}
