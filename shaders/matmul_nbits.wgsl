// Products of a few rows with weights of few bits. A workgroup has {{teams}} teams of {{lanes}} invocations, which share out the depth by
// vectors of four words; a team takes {{rows}} rows and {{columns}} columns. Words: groups of columns, all groups, rows, columns, depth,
// blocks of a column, weights of a block, vectors of a column.

{{buffers}}

const ROWS = {{rows}}u;
const COLUMNS = {{columns}}u;
const LANES = {{lanes}}u;
const TEAMS = {{teams}}u;
const BITS = {{bits}}u;
const OF_WORD = {{of_word}}u;

var<workgroup> parts: array<array<f32, 64>, {{sums}}>;

/// Four neighbours of a row, 0 from the end of the depth on.
fn load_a(row: u32, at: u32) -> vec4<f32> {
#if whole
    return vec4<f32>(a[(row * param(4u) + at) / 4u]);
#else
    let start = row * param(4u) + at;
    let left = param(4u) - at;
    var four = vec4<f32>(f32(a[start]), 0.0, 0.0, 0.0);
    if (left > 1u) { four.y = f32(a[start + 1u]); }
    if (left > 2u) { four.z = f32(a[start + 2u]); }
    if (left > 3u) { four.w = f32(a[start + 3u]); }
    return four;
#endif
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = workgroup.y * workgroups.x + workgroup.x;
    if (id >= param(1u)) { return; }
    let lane = local % LANES;
    let first_column = ((id % param(0u)) * TEAMS + local / LANES) * COLUMNS;
    let first_row = (id / param(0u)) * ROWS;
    let depth = param(4u);
    var sums: array<array<f32, {{columns}}>, {{rows}}>;
    for (var vector = lane; vector < param(7u); vector += LANES) {
        var packed: array<vec4<u32>, {{columns}}>;
        for (var c = 0u; c < COLUMNS; c++) {
            packed[c] = weights[min(first_column + c, param(3u) - 1u) * param(7u) + vector];
        }
        for (var word = 0u; word < 4u; word++) {
            let start = (4u * vector + word) * OF_WORD;
            if (start >= depth) { break; }
            let block = start / param(6u);
            var scale: array<f32, {{columns}}>;
            var origin: array<f32, {{columns}}>;
            for (var c = 0u; c < COLUMNS; c++) {
                let of_block = min(first_column + c, param(3u) - 1u) * param(5u) + block;
                scale[c] = f32(scales[of_block]);
#if zero
                origin[c] = f32(zeros[of_block]);
#else
                origin[c] = {{half}}.0;
#endif
            }
            for (var part = 0u; part < OF_WORD; part += 4u) {
                if (start + part >= depth) { break; }
                var x: array<vec4<f32>, {{rows}}>;
                for (var r = 0u; r < ROWS; r++) { x[r] = load_a(min(first_row + r, param(2u) - 1u), start + part); }
                let shifts = (vec4<u32>(0u, 1u, 2u, 3u) + part) * BITS;
                for (var c = 0u; c < COLUMNS; c++) {
                    let bits = (vec4<u32>(packed[c][word]) >> shifts) & vec4<u32>({{mask}}u);
                    let weight = (vec4<f32>(bits) - origin[c]) * scale[c];
                    for (var r = 0u; r < ROWS; r++) { sums[r][c] += dot(x[r], weight); }
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        for (var c = 0u; c < COLUMNS; c++) { parts[r * COLUMNS + c][local] = sums[r][c]; }
    }
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            for (var i = 0u; i < ROWS * COLUMNS; i++) { parts[i][local] += parts[i][local + half]; }
        }
    }
    if (lane > 0u) { return; }
    for (var r = 0u; r < ROWS; r++) {
        for (var c = 0u; c < COLUMNS; c++) {
            let row = first_row + r;
            let column = first_column + c;
            if (row >= param(2u) || column >= param(3u)) { continue; }
            var sum = parts[r * COLUMNS + c][local];
#if bias
            sum += f32(bias[column]);
#endif
            y[row * param(3u) + column] = Out(sum);
        }
    }
}
