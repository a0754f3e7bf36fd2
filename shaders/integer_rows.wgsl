// Products of a few rows of 8-bit integers with a matrix of packed ones: a workgroup takes {{rows}} rows and 16 columns, its 16 x 16
// invocations share out the depth. What is multiplied and where sums go is said in `product.wgsl`.

var<workgroup> parts: array<array<i32, 256>, {{rows}}>;
#if along_a
var<workgroup> parts_of_a: array<array<i32, 256>, {{rows}}>;
#endif

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    begin(workgroup.z);
    let first_row = workgroup.y * {{rows}}u;
    let column = workgroup.x * 16u + local.x;
    let number = local.y * 16u + local.x;
    var sums: array<i32, {{rows}}>;
#if along_a
    var sums_of_a: array<i32, {{rows}}>;
#endif
    for (var word = local.y; word < k; word += 16u) {
        var b = 0u;
        if (column < n) { b = load_b(word, column); }
        for (var i = 0u; i < {{rows}}u; i++) {
            let a = load_a(min(first_row + i, m - 1u), word);
            sums[i] += dot4I8Packed(a, b);
#if along_a
            sums_of_a[i] += dot4I8Packed(a, ONES);
#endif
        }
    }
    for (var i = 0u; i < {{rows}}u; i++) {
        parts[i][number] = sums[i];
#if along_a
        parts_of_a[i][number] = sums_of_a[i];
#endif
    }
    for (var half = 128u; half >= 16u; half /= 2u) {
        workgroupBarrier();
        if (number < half) {
            for (var i = 0u; i < {{rows}}u; i++) {
                parts[i][number] += parts[i][number + half];
#if along_a
                parts_of_a[i][number] += parts_of_a[i][number + half];
#endif
            }
        }
    }
    if (local.y > 0u || column >= n) { return; }
    for (var i = 0u; i < {{rows}}u; i++) {
        let row = first_row + i;
        if (row >= m) { break; }
#if along_a
        let along_a = parts_of_a[i][number];
#else
        let along_a = a_sum(row);
#endif
        store(row, column, corrected(row, column, parts[i][number], along_a, b_sum(column)));
    }
}
