// Products of 8-bit integers: an operand is a word of four neighbouring depths as signed bytes, zeros from depth `bytes` on, so that `k`
// counts words. `begin(batch)` sets `bytes` too; `zero_a(row)` and `zero_b(column)` are the zero points, `a_sum(row)` and
// `b_sum(column)` sums along the depth where they are known.

const ONES = 0x01010101u;

var<private> bytes: u32;

fn mac(a: u32, b: vec4<u32>, c: vec4<i32>) -> vec4<i32> {
    return c + vec4<i32>(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

/// The sum of all (a - zero_a)(b - zero_b), from that of all a b and those of a and b.
fn corrected(row: u32, column: u32, sum: i32, along_a: i32, along_b: i32) -> i32 {
    let za = zero_a(row);
    let zb = zero_b(column);
    return sum - zb * along_a - za * along_b + i32(bytes) * za * zb;
}

fn four_corrected(row: u32, column: u32, sums: vec4<i32>, along_a: i32, along_b: vec4<i32>) -> vec4<i32> {
    return vec4<i32>(
        corrected(row, column, sums.x, along_a, along_b.x),
        corrected(row, column + 1u, sums.y, along_a, along_b.y),
        corrected(row, column + 2u, sums.z, along_a, along_b.z),
        corrected(row, column + 3u, sums.w, along_a, along_b.w),
    );
}

fn four_b_sums(column: u32) -> vec4<i32> {
    return vec4<i32>(b_sum(column), b_sum(column + 1u), b_sum(column + 2u), b_sum(column + 3u));
}
