// Matrices of which the part above, or below, a diagonal is kept. Words: number of elements; rows; columns; the diagonal, if it is
// known.

alias T = {{type}};

@group(0) @binding(1) var<storage, read> input: array<T>;
@group(0) @binding(2) var<storage, read_write> output: array<T>;
#if diagonal
@group(0) @binding(3) var<storage, read> diagonal: array<vec2<u32>>;

/// A 64-bit number, or the nearest 32-bit one.
fn saturated(x: vec2<u32>) -> i32 {
    let low = bitcast<i32>(x.x);
    let high = bitcast<i32>(x.y);
    if (high == (low >> 31u)) { return low; }
    return select(2147483647, -2147483647, high < 0);
}
#endif

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = invocation(workgroup, workgroups, local, 64u);
    if (index >= param(0u)) { return; }
    let offset = i32(index % param(2u)) - i32(index / param(2u) % param(1u));
#if diagonal
    let k = saturated(diagonal[0]);
#else
    let k = bitcast<i32>(param(3u));
#endif
#if upper
    let kept = offset >= k;
#else
    let kept = offset <= k;
#endif
    var value = T();
    if (kept) { value = input[index]; }
    output[index] = value;
}
