// Running totals along an axis. Words: number of columns; extent of the axis; elements from one of its places to the next.

alias T = {{type}};

@group(0) @binding(1) var<storage, read> input: array<{{element}}>;
@group(0) @binding(2) var<storage, read_write> output: array<{{element}}>;

#if wide
fn join(a: T, b: T) -> T {
    let low = a.x + b.x;
    return T(low, a.y + b.y + select(0u, 1u, low < a.x));
}
const START: T = T(0u, 0u);
#else
#if product
fn join(a: T, b: T) -> T { return a * b; }
const START: T = T(1);
#else
fn join(a: T, b: T) -> T { return a + b; }
const START: T = T(0);
#endif
#endif

/// Where step `step` of a column is.
fn place(column: u32, step: u32) -> u32 {
#if reverse
    let at = param(1u) - 1u - step;
#else
    let at = step;
#endif
    return (column / param(2u) * param(1u) + at) * param(2u) + column % param(2u);
}

#if scan
// A workgroup goes through a column, 256 elements at a time.
var<workgroup> sums: array<T, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = workgroup.y * workgroups.x + workgroup.x;
    var carry = START;
    for (var begin = 0u; begin < param(1u); begin += 256u) {
        let step = begin + local;
        let exists = column < param(0u) && step < param(1u);
        var total = START;
        if (exists) { total = T(input[place(column, step)]); }
        sums[local] = total;
        workgroupBarrier();
        // W. D. Hillis, G. L. Steele: in each round every total takes in as many elements as it has.
        for (var distance = 1u; distance < 256u; distance *= 2u) {
            var before = START;
            if (local >= distance) { before = sums[local - distance]; }
            workgroupBarrier();
            total = join(before, total);
            sums[local] = total;
            workgroupBarrier();
        }
        if (exists) {
#if exclusive
            var before = START;
            if (local > 0u) { before = sums[local - 1u]; }
            output[place(column, step)] = {{element}}(join(carry, before));
#else
            output[place(column, step)] = {{element}}(join(carry, total));
#endif
        }
        carry = join(carry, sums[255]);
        workgroupBarrier();
    }
}
#else
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = invocation(workgroup, workgroups, local, 64u);
    if (column >= param(0u)) { return; }
    var total = START;
    for (var step = 0u; step < param(1u); step++) {
        let at = place(column, step);
        let before = total;
        total = join(total, T(input[at]));
#if exclusive
        output[at] = {{element}}(before);
#else
        output[at] = {{element}}(total);
#endif
    }
}
#endif
