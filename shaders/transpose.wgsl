// A copy in which neighbours of the source (along b) and of the target (along a) go along different loops: by way of tiles of
// 32 x 32 in workgroup memory, so that both sides are gone through in order. Words: number of tiles; tiles along a and b; extents
// of a and b; first elements of source and target; the source's stride along a, the target's along b; then the outer loops.

alias T = {{type}};

@group(0) @binding(1) var<storage, read> input: array<T>;
@group(0) @binding(2) var<storage, read_write> output: array<T>;

// A row has a place more than needed, so that columns go over all banks.
var<workgroup> tile: array<T, 1056>;

@compute @workgroup_size(32, 8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let number = workgroup.y * workgroups.x + workgroup.x;
    let exists = number < param(0u);
    let first_a = (number % param(1u)) * 32u;
    let first_b = (number / param(1u) % param(2u)) * 32u;
    let outer = number / param(1u) / param(2u);
{{offsets}}
    let source = param(5u) + offset0;
    let target_ = param(6u) + offset1;
    for (var i = local.y; i < 32u; i += 8u) {
        let a = first_a + i;
        let b = first_b + local.x;
        if (exists && a < param(3u) && b < param(4u)) { tile[i * 33u + local.x] = input[source + a * param(7u) + b]; }
    }
    workgroupBarrier();
    for (var i = local.y; i < 32u; i += 8u) {
        let a = first_a + local.x;
        let b = first_b + i;
        if (exists && a < param(3u) && b < param(4u)) { output[target_ + b * param(8u) + a] = tile[local.x * 33u + i]; }
    }
}
