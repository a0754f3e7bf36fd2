// Functions of floats that expressions of operators may call. Names that end in an underscore stand for WGSL's own, which differ
// from ONNX for NaN or large arguments.

fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn is_inf(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u; }
/// Whether it is negative infinity, by its bits: compilers with fast arithmetic (Metal's) take comparisons with infinity for false.
fn is_lowest(x: f32) -> bool { return bitcast<u32>(x) == 0xff800000u; }
/// No constant expression, in which WGSL refuses infinity.
fn infinity() -> f32 {
    var bits = 0x7f800000u;
    return bitcast<f32>(bits);
}

fn nan() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

fn maximum(x: f32, y: f32) -> f32 { return select(select(max(x, y), y, is_nan(y)), x, is_nan(x)); }
fn minimum(x: f32, y: f32) -> f32 { return select(select(min(x, y), y, is_nan(y)), x, is_nan(x)); }
fn sign_(x: f32) -> f32 { return select(sign(x), x, is_nan(x)); }

fn atan_(x: f32) -> f32 { return select(atan(x), x, is_nan(x)); }

/// asin of t in 0 .. 0.5: S. L. Moshier's Cephes, asinf.
fn asin_small(t: f32) -> f32 {
    let z = t * t;
    let p = (((0.042163199 * z + 0.024181311) * z + 0.045470026) * z + 0.074953003) * z + 0.16666752;
    return p * z * t + t;
}

/// pi / 2 - asin(|x|) by halving the angle.
fn acos_large(x: f32) -> f32 { return 2.0 * asin_small(sqrt(0.5 * (1.0 - abs(x)))); }

fn asin_(x: f32) -> f32 {
    let y = select(asin_small(abs(x)), 1.5707964 - acos_large(x), abs(x) > 0.5);
    return select(y, -y, x < 0.0);
}

fn acos_(x: f32) -> f32 {
    let large = select(acos_large(x), 3.1415927 - acos_large(x), x < 0.0);
    return select(1.5707964 - asin_(x), large, abs(x) > 0.5);
}

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

/// x - ln(1 + e^-|x|) has no overflow.
fn softplus(x: f32) -> f32 { return max(x, 0.0) + log1p(exp(-abs(x))); }

/// W. Kahan's way around the rounding of 1 + x.
fn log1p(x: f32) -> f32 {
    let y = 1.0 + x;
    return select(log(y) * (x / (y - 1.0)), x, y == 1.0);
}

fn expm1(x: f32) -> f32 {
    // The series where e^x - 1 would cancel.
    let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * 0.0013888889)))));
    return select(exp(x) - 1.0, series, abs(x) < 0.35);
}

fn tanh_(x: f32) -> f32 {
    let e = expm1(-2.0 * abs(x));
    let y = -e / (2.0 + e);
    return select(y, -y, x < 0.0);
}

fn sinh_(x: f32) -> f32 {
    let e = expm1(abs(x));
    let y = 0.5 * (e + e / (e + 1.0));
    let large = 0.5 * exp(0.5 * abs(x)) * exp(0.5 * abs(x));
    let magnitude = select(y, large, abs(x) > 80.0);
    return select(magnitude, -magnitude, x < 0.0);
}

fn cosh_(x: f32) -> f32 {
    let e = exp(0.5 * abs(x));
    return 0.5 * e * e + 0.5 / (e * e);
}

fn asinh_(x: f32) -> f32 {
    let a = abs(x);
    let square = a * a;
    let small = log1p(a + square / (1.0 + sqrt(1.0 + square)));
    let y = select(small, log(a) + 0.6931472, a > 1e18);
    return select(y, -y, x < 0.0);
}

fn acosh_(x: f32) -> f32 {
    let t = x - 1.0;
    return select(log1p(t + sqrt(2.0 * t + t * t)), log(x) + 0.6931472, x > 1e18);
}

fn atanh_(x: f32) -> f32 { return 0.5 * log1p(2.0 * x / (1.0 - x)); }

/// Taylor's series near 0, else 1 - erfc, W. H. Press et al., Numerical Recipes, 6.2: within 2e-7.
fn erf(x: f32) -> f32 {
    let s = x * x;
    let series = x * (1.1283792 + s * (-0.37612638 + s * (0.11283792 + s * (-0.026866171 + s * (0.0052239776
        + s * (-0.00085483276 + s * 0.00012055333))))));
    let a = abs(x);
    let t = 1.0 / (1.0 + 0.5 * a);
    let inner = -a * a - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
        + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    let y = 1.0 - t * exp(inner);
    return select(select(y, -y, x < 0.0), series, a < 0.5);
}

/// Halves go to even.
fn round_even(x: f32) -> f32 { return select(round(x), x, abs(x) >= 8388608.0 || is_nan(x)); }

/// Exact, and in few steps however far apart they are: a long division of the digits, eight bits at a time.
fn fmod(x: f32, y: f32) -> f32 {
    let rest = bitcast<u32>(x) & 0x7fffffffu;
    let step = bitcast<u32>(y) & 0x7fffffffu;
    if (rest >= 0x7f800000u || step > 0x7f800000u || step == 0u) { return nan(); }
    if (rest < step) { return x; }
    // Both are digits by a power of two, which is the same below the normal numbers.
    let rest_power = max(rest >> 23u, 1u);
    let power = max(step >> 23u, 1u);
    let divisor = step - ((power - 1u) << 23u);
    var digits = (rest - ((rest_power - 1u) << 23u)) % divisor;
    for (var left = rest_power - power; left > 0u;) {
        let bits = min(left, 8u);
        digits = (digits << bits) % divisor;
        left -= bits;
    }
    let sign = bitcast<u32>(x) & 0x80000000u;
    if (digits == 0u) { return bitcast<f32>(sign); }
    let shift = min(23u - firstLeadingBit(digits), power - 1u);
    return bitcast<f32>(sign | ((digits << shift) + ((power - 1u - shift) << 23u)));
}

fn floor_mod(x: f32, y: f32) -> f32 {
    let rest = fmod(x, y);
    return select(rest, rest + y, rest != 0.0 && (rest < 0.0) != (y < 0.0));
}

/// Whole exponents take negative bases; odd ones keep the base's sign.
fn power(x: f32, y: f32) -> f32 {
    if (y == 0.0 || x == 1.0) { return 1.0; }
    let whole = floor(y) == y;
    let odd = whole && abs(y) < 16777216.0 && (abs(y) % 2.0) == 1.0;
    if (is_nan(x) || is_nan(y) || (x < 0.0 && !whole)) { return nan(); }
    var size = exp2(y * log2(abs(x)));
    if (x == 0.0) { size = select(0.0, infinity(), y < 0.0); }
    if (abs(x) == 1.0) { size = 1.0; }
    if (y == 1.0) { size = abs(x); }
    if (y == 2.0) { size = x * x; }
    let sign = select(0u, bitcast<u32>(x) & 0x80000000u, odd);
    return bitcast<f32>(bitcast<u32>(size) | sign);
}
