// Products with weights of few bits: a workgroup for a column of {{rows}} rows. Words: workgroups, rows, columns, depth, blocks of a
// column, weights of a block, words of a column.

{{buffers}}

const ROWS = {{rows}}u;
const BITS = {{bits}}u;
const OF_WORD = {{of_word}}u;

@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    {{subgroup}}
) {
    {{enter}}
    let id = row_of(workgroup, workgroups, local);
    if (id >= param(0u)) { return; }
    let lane = lane_of(local);
    let column = id % param(2u);
    let first = (id / param(2u)) * ROWS;
    let depth = param(3u);
    var totals: array<f32, {{rows}}>;
    for (var row = 0u; row < ROWS; row++) { totals[row] = 0.0; }
    for (var i = lane; i * OF_WORD < depth; i += LANES) {
        let packed = weights[column * param(6u) + i];
        let block = column * param(4u) + i * OF_WORD / param(5u);
        let scale = f32(scales[block]);
#if zero
        let origin = f32(zeros[block]);
#else
        let origin = {{half}}.0;
#endif
        for (var j = 0u; j < OF_WORD; j++) {
            let at = i * OF_WORD + j;
            if (at >= depth) { break; }
            let weight = (f32(extractBits(packed, j * BITS, BITS)) - origin) * scale;
            for (var row = 0u; row < ROWS; row++) {
                let a_row = min(first + row, param(1u) - 1u);
                totals[row] = fma(f32(a[a_row * depth + at]), weight, totals[row]);
            }
        }
    }
    for (var row = 0u; row < ROWS; row++) {
        var sum = sum_of(lane, totals[row]);
#if bias
        sum += f32(bias[column]);
#endif
        if (lane == 0u && first + row < param(1u)) { y[(first + row) * param(2u) + column] = Out(sum); }
    }
}
