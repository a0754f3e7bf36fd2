// Matrix products by tiles of {{tile_m}} x {{tile_n}}, 16 invocations by 16, each of {{rows}} x {{columns}} sums. What is multiplied is said by
// `load_a(row, depth)` and `load_b(depth, column)`, which are called inside the matrices only, and where sums go by
// `store(row, column, sum)`. `begin(batch)` comes first; `m`, `n`, `k` are set there. Products of a sum are added in order, in
// blocks of `block` if that is asked for.

const TILE_K: u32 = 16u;

var<private> m: u32;
var<private> n: u32;
var<private> k: u32;
#if blocks
var<private> block: u32;
#endif

var<workgroup> tile_a: array<f32, {{size_a}}>;
var<workgroup> tile_b: array<f32, {{size_b}}>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    begin(workgroup.z);
    let first_row = workgroup.y * {{tile_m}}u;
    let first_column = workgroup.x * {{tile_n}}u;
    let number = local.y * 16u + local.x;
    var sums: array<array<f32, {{columns}}>, {{rows}}>;
#if blocks
    var totals: array<array<f32, {{columns}}>, {{rows}}>;
#endif
    for (var depth = 0u; depth < k; depth += TILE_K) {
        for (var i = number; i < {{size_a}}u; i += 256u) {
#if a_by_depth
            let at = i / {{tile_m}}u;
            let row = i % {{tile_m}}u;
#else
            let at = i % TILE_K;
            let row = i / TILE_K;
#endif
            var value = 0.0;
            if (first_row + row < m && depth + at < k) { value = load_a(first_row + row, depth + at); }
            tile_a[at * {{tile_m}}u + row] = value;
        }
        for (var i = number; i < {{size_b}}u; i += 256u) {
#if b_by_depth
            let at = i % TILE_K;
            let column = i / TILE_K;
#else
            let at = i / {{tile_n}}u;
            let column = i % {{tile_n}}u;
#endif
            var value = 0.0;
            if (first_column + column < n && depth + at < k) { value = load_b(depth + at, first_column + column); }
            tile_b[at * {{tile_n}}u + column] = value;
        }
        workgroupBarrier();
        for (var at = 0u; at < TILE_K; at++) {
            var b: array<f32, {{columns}}>;
            for (var j = 0u; j < {{columns}}u; j++) { b[j] = tile_b[at * {{tile_n}}u + local.x + 16u * j]; }
            for (var i = 0u; i < {{rows}}u; i++) {
                let a = tile_a[at * {{tile_m}}u + local.y * {{rows}}u + i];
                for (var j = 0u; j < {{columns}}u; j++) { sums[i][j] = fma(a, b[j], sums[i][j]); }
            }
        }
        workgroupBarrier();
#if blocks
        if ((depth + TILE_K) % block == 0u || depth + TILE_K >= k) {
            for (var i = 0u; i < {{rows}}u; i++) {
                for (var j = 0u; j < {{columns}}u; j++) {
                    totals[i][j] += sums[i][j];
                    sums[i][j] = 0.0;
                }
            }
        }
#endif
    }
    for (var i = 0u; i < {{rows}}u; i++) {
        let row = first_row + local.y * {{rows}}u + i;
        for (var j = 0u; j < {{columns}}u; j++) {
            let column = first_column + local.x + 16u * j;
#if blocks
            let sum = totals[i][j];
#else
            let sum = sums[i][j];
#endif
            if (row < m && column < n) { store(row, column, sum); }
        }
    }
}
