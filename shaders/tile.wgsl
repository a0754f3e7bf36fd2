// Matrix products by tiles of {{tile_m}} x {{tile_n}}: {{across}} by {{down}} invocations, each of {{rows}} x {{columns}} sums. What is
// multiplied and where sums go is said in `product.wgsl`. Products of a sum are added in order, a tile's depth after the other; with
// `splits`, each by another workgroup.

const TILE_M = {{tile_m}}u;
const TILE_N = {{tile_n}}u;
const TILE_K = {{tile_k}}u;
const INVOCATIONS = {{across}}u * {{down}}u;

var<workgroup> tile_a: array<vec4<f32>, TILE_M * TILE_K / 4u>;
var<workgroup> tile_b: array<vec4<f32>, TILE_N * TILE_K / 4u>;

@compute @workgroup_size({{across}}, {{down}})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    begin(workgroup.z / splits());
    let first_row = workgroup.y * TILE_M;
    let first_column = workgroup.x * TILE_N;
    let number = local.y * {{across}}u + local.x;
    begin_columns(first_column + number % (TILE_N / 4u) * 4u);
    let split = workgroup.z % splits();
    let start = split * part();
    let end = min(k, start + part());
{{sums}}
#if ordered
{{totals}}
#endif
    for (var depth = start; depth < end; depth += TILE_K) {
        for (var i = number; i < TILE_M * TILE_K / 4u; i += INVOCATIONS) {
#if a_by_row
            let at = i / (TILE_M / 4u);
            let rows = i % (TILE_M / 4u);
#else
            let at = i % TILE_K;
            let rows = i / TILE_K;
#endif
            tile_a[at * (TILE_M / 4u) + rows] = four_a(first_row + 4u * rows, depth + at);
        }
        for (var i = number; i < TILE_N * TILE_K / 4u; i += INVOCATIONS) {
#if b_by_depth
            let at = i % TILE_K;
            let columns = i / TILE_K;
#else
            let at = i / (TILE_N / 4u);
            let columns = i % (TILE_N / 4u);
#endif
            tile_b[at * (TILE_N / 4u) + columns] = four_b(depth + at, first_column + 4u * columns);
        }
        workgroupBarrier();
        for (var at = 0u; at < TILE_K; at++) {
            let a = at * (TILE_M / 4u) + local.y * {{fours_of_rows}}u;
            let b = at * (TILE_N / 4u) + local.x;
{{products}}
        }
        workgroupBarrier();
#if ordered
        if ((depth + TILE_K) % block() == 0u || depth + TILE_K >= k) {
{{adds}}
        }
#endif
    }
#if ordered
{{gives}}
#endif
    let row = first_row + local.y * {{rows}}u;
    let column = first_column + local.x * 4u;
    let batch = workgroup.z;
{{stores}}
}
