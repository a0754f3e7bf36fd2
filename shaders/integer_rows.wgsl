// Products of a few rows of 8-bit integers with a matrix of packed ones, as `integer_tile.wgsl` names things: a workgroup takes
// {{rows}} rows and 16 columns, its 16 x 16 invocations share out the depth.

const ONES: u32 = 0x01010101u;

var<private> m: u32;
var<private> n: u32;
var<private> k: u32;

var<workgroup> parts: array<array<i32, 256>, {{rows}}>;
#if sums_a
var<workgroup> parts_of_a: array<array<i32, 256>, {{rows}}>;
#endif

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    begin(workgroup.z);
    let first_row = workgroup.y * {{rows}}u;
    let column = workgroup.x * 16u + local.x;
    let number = local.y * 16u + local.x;
    let words = (k + 3u) / 4u;
    var sums: array<i32, {{rows}}>;
#if sums_a
    var sums_of_a: array<i32, {{rows}}>;
#endif
    for (var word = local.y; word < words; word += 16u) {
        var b = 0u;
        if (column < n) { b = load_b(word, column); }
        for (var i = 0u; i < {{rows}}u; i++) {
            let a = load_a(min(first_row + i, m - 1u), word);
            sums[i] += dot4I8Packed(a, b);
#if sums_a
            sums_of_a[i] += dot4I8Packed(a, ONES);
#endif
        }
    }
    for (var i = 0u; i < {{rows}}u; i++) {
        parts[i][number] = sums[i];
#if sums_a
        parts_of_a[i][number] = sums_of_a[i];
#endif
    }
    for (var half = 128u; half >= 16u; half /= 2u) {
        workgroupBarrier();
        if (number < half) {
            for (var i = 0u; i < {{rows}}u; i++) {
                parts[i][number] += parts[i][number + half];
#if sums_a
                parts_of_a[i][number] += parts_of_a[i][number + half];
#endif
            }
        }
    }
    if (local.y > 0u || column >= n) { return; }
    for (var i = 0u; i < {{rows}}u; i++) {
        let row = first_row + i;
        if (row >= m) { break; }
#if sums_a
        let along_a = parts_of_a[i][number];
#else
        let along_a = a_sum(row);
#endif
        let za = zero_a(row);
        let zb = zero_b(column);
        store(row, column, parts[i][number] - zb * along_a - za * b_sum(column) + i32(k) * za * zb);
    }
}
