// Quotients as IEEE 754 rounds them, which WGSL does not ask of a division.

/// The half of a number's digits that comes first.
fn upper(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u); }

/// x / y: the division's error, by products of half the digits, which are exact, is put right. What lies beyond all steps of a
/// quantisation stays as the division gives it.
fn quotient(x: f32, y: f32) -> f32 {
    let near = x / y;
    let size = abs(near);
    if (!(size < 1e6 && size > 1e-12 && abs(y) > 1e-15 && abs(y) < 1e25)) { return near; }
    let near_upper = upper(near);
    let near_lower = near - near_upper;
    let y_upper = upper(y);
    let y_lower = y - y_upper;
    let rest = ((x - near_upper * y_upper) - near_upper * y_lower) - near_lower * y_upper - near_lower * y_lower;
    return near + rest / y;
}
