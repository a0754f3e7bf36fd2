// Matrix products by tiles of {{tile}} x {{tile}} on matrices of {{size}} x {{size}} that a subgroup multiplies as one; sums are of float32. A workgroup
// has four subgroups of {{lanes}} invocations, each with a quarter of the tile. What is multiplied and where sums go is said in
// `product.wgsl`.

const SIZE = {{size}}u;
const TILE = {{tile}}u;
const INVOCATIONS = {{lanes}}u * 4u;

alias Factor = {{element}};
alias Left = coop_mat{{size}}x{{size}}<{{element}}, A>;
alias Right = coop_mat{{size}}x{{size}}<{{element}}, B>;
alias Sum = coop_mat{{size}}x{{size}}<f32, C>;

var<workgroup> tile_a: array<Factor, TILE * SIZE>;
var<workgroup> tile_b: array<Factor, TILE * SIZE>;
var<workgroup> tile_sums: array<f32, TILE * TILE>;

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    begin(workgroup.z);
    let first_row = workgroup.y * TILE;
    let first_column = workgroup.x * TILE;
    begin_columns(first_column + local % (TILE / 4u) * 4u);
    // Where this subgroup's quarter begins.
    let down = subgroup / 2u * (TILE / 2u);
    let across = subgroup % 2u * (TILE / 2u);
    var s00 = Sum();
    var s01 = Sum();
    var s10 = Sum();
    var s11 = Sum();
    for (var depth = 0u; depth < k; depth += SIZE) {
        for (var i = local; i < TILE * SIZE / 4u; i += INVOCATIONS) {
            let at = i % SIZE;
            let row = i / SIZE * 4u;
            let four = four_a(first_row + row, depth + at);
            for (var c = 0u; c < 4u; c++) { tile_a[(row + c) * SIZE + at] = Factor(four[c]); }
        }
        for (var i = local; i < TILE * SIZE / 4u; i += INVOCATIONS) {
            let at = i / (TILE / 4u);
            let column = i % (TILE / 4u) * 4u;
            let four = four_b(depth + at, first_column + column);
            for (var c = 0u; c < 4u; c++) { tile_b[at * TILE + column + c] = Factor(four[c]); }
        }
        workgroupBarrier();
        let a0 = coopLoadT<Left>(&tile_a[down * SIZE], SIZE);
        let a1 = coopLoadT<Left>(&tile_a[(down + SIZE) * SIZE], SIZE);
        let b0 = coopLoadT<Right>(&tile_b[across], TILE);
        let b1 = coopLoadT<Right>(&tile_b[across + SIZE], TILE);
        s00 = coopMultiplyAdd(a0, b0, s00);
        s01 = coopMultiplyAdd(a0, b1, s01);
        s10 = coopMultiplyAdd(a1, b0, s10);
        s11 = coopMultiplyAdd(a1, b1, s11);
        workgroupBarrier();
    }
    coopStoreT(s00, &tile_sums[down * TILE + across], TILE);
    coopStoreT(s01, &tile_sums[down * TILE + across + SIZE], TILE);
    coopStoreT(s10, &tile_sums[(down + SIZE) * TILE + across], TILE);
    coopStoreT(s11, &tile_sums[(down + SIZE) * TILE + across + SIZE], TILE);
    workgroupBarrier();
    for (var i = local; i < TILE * TILE / 4u; i += INVOCATIONS) {
        let row = i / (TILE / 4u);
        let column = i % (TILE / 4u) * 4u;
        let at = row * TILE + column;
        let sums = vec4<f32>(tile_sums[at], tile_sums[at + 1u], tile_sums[at + 2u], tile_sums[at + 3u]);
        four_y(workgroup.z, first_row + row, first_column + column, sums);
    }
}
