// Matrix products of few rows: {{across}} invocations by four columns each, by {{down}} parts of the depth, which are added at the
// end. What is multiplied and where sums go is said in `product.wgsl`.

const ACROSS = {{across}}u;
const DOWN = {{down}}u;

var<workgroup> added: array<vec4<f32>, ACROSS * DOWN * {{rows}}u>;

@compute @workgroup_size({{across}}, {{down}})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    begin(workgroup.z);
    let row = workgroup.y * {{rows}}u;
    let column = (workgroup.x * ACROSS + local.x) * 4u;
    begin_columns(column);
    var sums: array<vec4<f32>, {{rows}}>;
    for (var first = local.y; first < k; first += 4u * DOWN) {
        // Four loads are under way at once.
        let b0 = four_b(first, column);
        let b1 = four_b(first + DOWN, column);
        let b2 = four_b(first + 2u * DOWN, column);
        let b3 = four_b(first + 3u * DOWN, column);
        for (var i = 0u; i < {{rows}}u; i++) {
            sums[i] = fma(vec4<f32>(one_a(row + i, first)), b0, sums[i]);
            sums[i] = fma(vec4<f32>(one_a(row + i, first + DOWN)), b1, sums[i]);
            sums[i] = fma(vec4<f32>(one_a(row + i, first + 2u * DOWN)), b2, sums[i]);
            sums[i] = fma(vec4<f32>(one_a(row + i, first + 3u * DOWN)), b3, sums[i]);
        }
    }
    for (var i = 0u; i < {{rows}}u; i++) { added[(i * DOWN + local.y) * ACROSS + local.x] = sums[i]; }
    for (var half = DOWN / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local.y < half) {
            for (var i = 0u; i < {{rows}}u; i++) {
                let at = (i * DOWN + local.y) * ACROSS + local.x;
                added[at] += added[at + half * ACROSS];
            }
        }
    }
    workgroupBarrier();
    if (local.y < {{rows}}u) {
        four_y(workgroup.z, row + local.y, column, added[local.y * DOWN * ACROSS + local.x]);
    }
}
