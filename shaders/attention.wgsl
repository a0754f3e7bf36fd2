// Attention with a running softmax (https://arxiv.org/abs/2205.14135): a workgroup for {{rows}} queries of a head, of which each
// invocation takes every 64th key and, for the sums, every 64th column of the values. Words: queries, keys, width of a query, width
// of a value, query heads, query heads that share one of the keys, scale, soft cap; distances of batches, heads and rows of queries,
// keys, values, outputs, mask; columns of the mask; place of the first query, keys it sees to the left, to the right.

{{buffers}}

const ROWS = {{rows}}u;
const COLUMNS = {{columns}}u;

var<workgroup> queries: array<f32, {{query_tile}}>;
var<workgroup> scores: array<f32, {{score_tile}}>;
var<workgroup> greatest: array<f32, {{rows}}>;
var<workgroup> sums: array<f32, {{rows}}>;
var<workgroup> shrink: array<f32, {{rows}}>;
#if subgroups
/// Greatest scores, then sums of weights, of each subgroup.
var<workgroup> parts: array<f32, {{score_tile}}>;
#endif

fn start_of(first: u32, batch: u32, head: u32) -> u32 { return batch * param(first) + head * param(first + 1u); }

/// A product of a query and a key as the softmax takes it.
fn masked(product: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
    let hidden = -infinity();
    var score = product;
#if lengths
    let first_place = bitcast<i32>(lengths[batch].x);
    if (key >= min(param(1u), lengths[batch].y)) { return hidden; }
#else
    let first_place = bitcast<i32>(param(24u));
    if (key >= param(1u)) { return hidden; }
#endif
#if softcap
    let cap = bitcast<f32>(param(7u));
    score = cap * tanh_(score / cap);
#endif
#if reach
    let distance = i32(key) - (i32(query) + first_place);
    if (distance < -bitcast<i32>(param(25u)) || distance > bitcast<i32>(param(26u))) { return hidden; }
#endif
#if mask
    let row = start_of(20u, batch, head) + query * param(22u);
#if constant_mask
    let given = {{given}}(mask[row]);
#else
    if (key >= param(23u)) { return hidden; }
    let given = {{given}}(mask[row + key]);
#endif
#if truths
    score = select(score, {{fill}}, given == 0u);
#else
    // What the mask hides does not matter, whatever it is.
    score = select(score + given, hidden, is_lowest(given));
#endif
#endif
    return score;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    {{subgroup}}
) {
    {{enter}}
    let first = workgroup.x * ROWS;
    let head = workgroup.y;
    let batch = workgroup.z;
    let width = param(2u);
    let q_start = start_of(8u, batch, head);
    let k_start = start_of(11u, batch, head / param(5u));
    let v_start = start_of(14u, batch, head / param(5u));
    for (var i = lane; i < ROWS * width; i += 64u) {
        let query = min(first + i / width, param(0u) - 1u);
        queries[i] = f32(q[q_start + query * param(10u) + i % width]) * bitcast<f32>(param(6u));
    }
    if (lane < ROWS) {
#if sinks
        greatest[lane] = {{sink}};
        sums[lane] = 1.0;
#else
        greatest[lane] = -infinity();
        sums[lane] = 0.0;
#endif
    }
    var totals: array<f32, {{totals}}>;
    for (var i = 0u; i < ROWS * COLUMNS; i++) { totals[i] = 0.0; }
    workgroupBarrier();

    for (var start = 0u; start < param(1u); start += 64u) {
        let key = start + lane;
        var products: array<f32, {{rows}}>;
        for (var row = 0u; row < ROWS; row++) { products[row] = 0.0; }
        if (key < param(1u)) {
            let k_at = k_start + key * param(13u);
            for (var d = 0u; d < width; d++) {
                let element = f32(k[k_at + d]);
                for (var row = 0u; row < ROWS; row++) {
                    products[row] = fma(queries[row * width + d], element, products[row]);
                }
            }
        }
        for (var row = 0u; row < ROWS; row++) {
            let query = min(first + row, param(0u) - 1u);
            let score = masked(products[row], batch, head, query, key);
            scores[row * 64u + lane] = score;
#if subgroups
            let own = subgroupMax(score);
            if (own_place == 0u) { parts[row * 64u + subgroup_number] = own; }
#endif
        }
        workgroupBarrier();
        if (lane < ROWS) {
            let old = greatest[lane];
            var new_greatest = old;
#if subgroups
            for (var i = 0u; i < subgroup_count; i++) { new_greatest = max(new_greatest, parts[lane * 64u + i]); }
#else
            for (var i = 0u; i < 64u; i++) { new_greatest = max(new_greatest, scores[lane * 64u + i]); }
#endif
            // By bits: both may be infinite.
            shrink[lane] = select(exp(old - new_greatest), 1.0, bitcast<u32>(old) == bitcast<u32>(new_greatest));
            greatest[lane] = new_greatest;
        }
        workgroupBarrier();
        for (var row = 0u; row < ROWS; row++) {
            let score = scores[row * 64u + lane];
            let weight = select(exp(score - greatest[row]), 0.0, is_lowest(score));
            scores[row * 64u + lane] = weight;
#if subgroups
            let own = subgroupAdd(weight);
            if (own_place == 0u) { parts[row * 64u + subgroup_number] = own; }
#endif
        }
        workgroupBarrier();
        if (lane < ROWS) {
            var sum = sums[lane] * shrink[lane];
#if subgroups
            for (var i = 0u; i < subgroup_count; i++) { sum += parts[lane * 64u + i]; }
#else
            for (var i = 0u; i < 64u; i++) { sum += scores[lane * 64u + i]; }
#endif
            sums[lane] = sum;
        }
        for (var row = 0u; row < ROWS; row++) {
            for (var column = 0u; column < COLUMNS; column++) { totals[row * COLUMNS + column] *= shrink[row]; }
        }
        let end = min(64u, param(1u) - start);
        for (var i = 0u; i < end; i++) {
            for (var column = 0u; column < COLUMNS; column++) {
                let d = column * 64u + lane;
                if (d < param(3u)) {
                    let value = f32(v[v_start + (start + i) * param(16u) + d]);
                    for (var row = 0u; row < ROWS; row++) {
                        let weight = scores[row * 64u + i];
                        let place = row * COLUMNS + column;
                        totals[place] = select(fma(weight, value, totals[place]), totals[place], weight == 0.0);
                    }
                }
            }
        }
        workgroupBarrier();
    }

    for (var row = 0u; row < ROWS; row++) {
        let query = first + row;
        if (query >= param(0u)) { break; }
        let y_at = start_of(17u, batch, head) + query * param(19u);
        for (var column = 0u; column < COLUMNS; column++) {
            let d = column * 64u + lane;
            if (d < param(3u)) {
                var value = totals[row * COLUMNS + column] / sums[row];
                if (sums[row] == 0.0) { value = {{hidden}}; }
#if zero_nan
                if (is_nan(sums[row])) { value = 0.0; }
#endif
                y[y_at + d] = Out(value);
            }
        }
    }
}
