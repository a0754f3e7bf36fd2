// Updates go where their indices say; those whose index is not on its axis go nowhere. Words, after those of the place: number of
// elements of the updates.

alias T = {{type}};

@group(0) @binding(2) var<storage, read> updates: array<T>;
@group(0) @binding(3) var<storage, read_write> output: array<{{target}}>;

{{place}}

{{combine}}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = invocation(workgroup, workgroups, local, 64u);
    if (index >= param({{count}}u)) { return; }
    let at = place(index);
    if (at == NOWHERE) { return; }
#if reduction
    combine(at, updates[index]);
#else
    output[at] = updates[index];
#endif
}
