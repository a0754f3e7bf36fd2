// Floats as integers, by their bits: what no integer holds is the same on every GPU.

/// The lowest 32 bits of the whole number that is left of x without its fraction; 0 where it is none.
fn low_word(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let digits = (bits & 0x7fffffu) | 0x800000u;
    // Places by which the digits stand to the left of those of a whole number.
    let places = i32((bits >> 23u) & 0xffu) - 150;
    var word = 0u;
    if (places >= 0 && places < 32) { word = digits << u32(places); }
    if (places < 0 && places > -24) { word = digits >> u32(-places); }
    return select(word, 0u - word, bits >> 31u == 1u);
}

/// What lies outside saturates.
fn saturated_i32(x: f32) -> i32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) { return 0; }
    if (size >= 0x4f000000u) { return bitcast<i32>(0x7fffffffu + (bits >> 31u)); }
    return bitcast<i32>(low_word(x));
}
#if i64

/// What lies outside saturates.
fn saturated_i64(x: f32) -> i64 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) { return 0li; }
    if (size < 0x5f000000u) { return i64(x); }
    return select(9223372036854775807li, -9223372036854775807li - 1li, bits >> 31u == 1u);
}

/// The lowest 64 bits; those of -2^63 stand for all below it, those of 2^64 for all above that.
fn wrapped_u64(x: f32) -> u64 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) { return 0lu; }
    if (bits >> 31u == 1u) { return bitcast<u64>(saturated_i64(x)); }
    if (size >= 0x5f800000u) { return 0lu; }
    return u64(x);
}
#endif
