// Products of matrices of 8-bit integers by tiles of {{tile_m}} x {{tile_n}}, 16 invocations by 16, each of {{rows}} x {{columns}} sums. A word
// holds four neighbouring depths as signed bytes, zeros from depth `k` on. `load_a(row, word)` and `load_b(word, column)` give
// such words, `zero_a(row)` and `zero_b(column)` the zero points, `a_sum(row)` and `b_sum(column)` sums along the depth where
// they are known; `store(row, column, sum)` takes the sum of (a - zero_a)(b - zero_b). `begin(batch)` comes first; it sets `m`,
// `n`, `k`.

const WORDS: u32 = 8u;
const ONES: u32 = 0x01010101u;

var<private> m: u32;
var<private> n: u32;
var<private> k: u32;

var<workgroup> tile_a: array<u32, {{size_a}}>;
var<workgroup> tile_b: array<u32, {{size_b}}>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    begin(workgroup.z);
    let first_row = workgroup.y * {{tile_m}}u;
    let first_column = workgroup.x * {{tile_n}}u;
    let number = local.y * 16u + local.x;
    let words = (k + 3u) / 4u;
    var sums: array<array<i32, {{columns}}>, {{rows}}>;
#if sums_a
    var sums_of_a: array<i32, {{rows}}>;
#endif
#if sums_b
    var sums_of_b: array<i32, {{columns}}>;
#endif
    for (var first = 0u; first < words; first += WORDS) {
        for (var i = number; i < {{size_a}}u; i += 256u) {
            let at = i % WORDS;
            let row = i / WORDS;
            var value = 0u;
            if (first_row + row < m && first + at < words) { value = load_a(first_row + row, first + at); }
            tile_a[at * {{tile_m}}u + row] = value;
        }
        for (var i = number; i < {{size_b}}u; i += 256u) {
            let at = i / {{tile_n}}u;
            let column = i % {{tile_n}}u;
            var value = 0u;
            if (first_column + column < n && first + at < words) { value = load_b(first + at, first_column + column); }
            tile_b[at * {{tile_n}}u + column] = value;
        }
        workgroupBarrier();
        for (var at = 0u; at < WORDS; at++) {
            var b: array<u32, {{columns}}>;
            for (var j = 0u; j < {{columns}}u; j++) {
                b[j] = tile_b[at * {{tile_n}}u + local.x + 16u * j];
#if sums_b
                sums_of_b[j] += dot4I8Packed(b[j], ONES);
#endif
            }
            for (var i = 0u; i < {{rows}}u; i++) {
                let a = tile_a[at * {{tile_m}}u + local.y * {{rows}}u + i];
#if sums_a
                sums_of_a[i] += dot4I8Packed(a, ONES);
#endif
                for (var j = 0u; j < {{columns}}u; j++) { sums[i][j] += dot4I8Packed(a, b[j]); }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < {{rows}}u; i++) {
        let row = first_row + local.y * {{rows}}u + i;
        if (row >= m) { continue; }
#if sums_a
        let along_a = sums_of_a[i];
#else
        let along_a = a_sum(row);
#endif
        for (var j = 0u; j < {{columns}}u; j++) {
            let column = first_column + local.x + 16u * j;
            if (column >= n) { continue; }
#if sums_b
            let along_b = sums_of_b[j];
#else
            let along_b = b_sum(column);
#endif
            let za = zero_a(row);
            let zb = zero_b(column);
            store(row, column, sums[i][j] - zb * along_a - za * along_b + i32(k) * za * zb);
        }
    }
}
