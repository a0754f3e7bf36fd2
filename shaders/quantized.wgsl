// Steps of a scale as an integer of few bits: halves go to even, then comes the zero point, then what is out of range stays at
// its end.

fn quantized(steps: f32, zero: i32, least: i32, most: i32) -> i32 {
    let rounded = round_even(steps);
    let near = select(i32(clamp(rounded, -16777216.0, 16777216.0)), 0, is_nan(steps));
    return clamp(near + zero, least, most);
}
