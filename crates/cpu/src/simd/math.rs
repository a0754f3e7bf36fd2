//! Vector exponentials, logarithms, trigonometric functions, sigmoid, tanh, erf and GELU in f32.
//!
//! The polynomials are our own minimax fits (linear programming on Chebyshev nodes, coefficients then rounded to f32).
//! Stated errors are the largest seen over dense sweeps in the tests, on instruction sets with fused multiply-add; the
//! portable one adds about half a unit. 1 ulp is at most 1.2e-7 relative. NaN gives NaN.

use super::vector::Simd;

/// `c[0] + c[1] x + c[2] x^2 ...` by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F32, c: [f32; N]) -> S::F32 {
    let mut p = s.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        p = s.mul_add(p, x, s.splat(c[i]));
    }
    p
}

/// `e^x` for `|x| <= 87` (or NaN), relative error below 1.2e-7; outside meaningless.
#[inline(always)]
pub fn exp_bounded<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (n, p) = exp_parts(s, x);
    let power = s.bits_to_f32(s.shl_i32::<23>(s.add_i32(n, s.splat_i32(127))));
    s.mul(s.add(p, s.splat(1.0)), power)
}

/// `e^x`, relative error below 1.2e-7 where the result is normal; overflows to infinity and underflows gradually to
/// zero as f32 does.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // Past these bounds the result is 0 or infinity anyway; within them n fits the two exponents below.
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let (n, p) = exp_parts(s, x);
    let p = s.add(p, s.splat(1.0));
    // 2^n in two factors, since n may lie outside the exponents of normal numbers.
    let half = s.shr_i32::<1>(n);
    let bias = s.splat_i32(127);
    let low = s.bits_to_f32(s.shl_i32::<23>(s.add_i32(half, bias)));
    let high = s.bits_to_f32(s.shl_i32::<23>(s.add_i32(s.sub_i32(n, half), bias)));
    s.mul(s.mul(p, low), high)
}

/// `e^x` for `x <= 0`, relative error below 1.2e-7; 0 below -87.
#[inline(always)]
pub fn exp_negative<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let least = s.splat(-87.0);
    let y = exp_bounded(s, s.max(least, x));
    s.select(s.lt(x, least), s.zero(), y)
}

/// ln 2 in two parts, the first with so few bits that its product with an exponent is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `n` and `e^r - 1` for which `x = n ln 2 + r`, `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp_parts<S: Simd>(s: S, x: S::F32) -> (S::I32, S::F32) {
    let n = s.round_ties_even(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.neg_mul_add(n, s.splat(LN_2[0]), x);
    let r = s.neg_mul_add(n, s.splat(LN_2[1]), r);
    let q = polynomial(s, r, [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_453_9]);
    (s.to_i32_trunc(n), s.mul_add(s.mul(r, r), q, r))
}

/// `e^x - 1` for `x <= 0`, relative error below 2e-7; a positive `x` is taken as 0.
#[inline(always)]
pub fn exp_m1_negative<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // e^-80 is far below the last bit of 1, and 2^n is normal from there on.
    let x = s.max(s.splat(-80.0), s.min(s.zero(), x));
    let (n, p) = exp_parts(s, x);
    let power = s.bits_to_f32(s.shl_i32::<23>(s.add_i32(n, s.splat_i32(127))));
    s.mul_add(p, power, s.sub(power, s.splat(1.0)))
}

/// The natural logarithm, relative error below 1.5e-7; minus infinity at 0, NaN below.
///
/// `x = 2^e m` with `m` from `sqrt(1/2)` to `sqrt 2`, `f = m - 1`; `ln m = f - f^2 / 2 + f^3 P(f)`.
#[inline(always)]
pub fn log<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let subnormal = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let scaled = s.select(subnormal, s.mul(x, s.splat(8_388_608.0)), x);
    let bits = s.to_bits(scaled);
    let e = s.shr_i32::<23>(s.sub_i32(bits, s.splat_i32(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32)));
    let f = s.sub(s.bits_to_f32(s.sub_i32(bits, s.shl_i32::<23>(e))), s.splat(1.0));
    let e = s.sub(s.to_f32(e), s.select(subnormal, s.splat(23.0), s.zero()));
    let p = polynomial(
        s,
        f,
        [
            0.333_333_13,
            -0.250_000_1,
            0.200_021_22,
            -0.166_679_68,
            0.142_193_65,
            -0.124_058_06,
            0.118_900_545,
            -0.116_759_375,
            0.067_429_78,
        ],
    );
    let f2 = s.mul(f, f);
    let small = s.mul_add(s.mul(f2, f), p, s.mul(e, s.splat(LN_2[1])));
    let small = s.neg_mul_add(s.splat(0.5), f2, small);
    let y = s.mul_add(e, s.splat(LN_2[0]), s.add(small, f));
    let infinity = s.splat(f32::INFINITY);
    let y = s.select(s.lt(x, infinity), y, x);
    let y = s.select(s.eq(x, s.zero()), s.neg(infinity), y);
    s.select(s.lt(x, s.zero()), s.splat(f32::NAN), y)
}

/// `ln(1 + x)` for `x >= 0`, relative error below 2.5e-7.
///
/// What `1 + x` loses by rounding comes back in the first order.
#[inline(always)]
pub fn log_1p<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let u = s.add(s.splat(1.0), x);
    let lost = s.sub(x, s.sub(u, s.splat(1.0)));
    s.add(log(s, u), s.div(lost, u))
}

/// Greatest magnitude that [`sin`] and [`cos`] take.
pub const TRIGONOMETRIC_LIMIT: f32 = 8192.0;

/// The sine for `|x|` up to [`TRIGONOMETRIC_LIMIT`], absolute error below 1.2e-7.
#[inline(always)]
pub fn sin<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (n, r) = quarter_turns(s, x);
    // -0 has lost its sign to the reduction.
    s.select(s.eq(x, s.zero()), x, sin_quadrant(s, n, r))
}

/// The cosine for `|x|` up to [`TRIGONOMETRIC_LIMIT`], absolute error below 1.2e-7.
#[inline(always)]
pub fn cos<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (n, r) = quarter_turns(s, x);
    sin_quadrant(s, s.add_i32(n, s.splat_i32(1)), r)
}

/// `n` and `r` for which `x = n pi / 2 + r`, `|r| <= pi / 4` (Cody and Waite).
#[inline(always)]
fn quarter_turns<S: Simd>(s: S, x: S::F32) -> (S::I32, S::F32) {
    let n = s.round_ties_even(s.mul(x, s.splat(std::f32::consts::FRAC_2_PI)));
    // Parts of 11 bits, whose products with n are exact without fused operations too, and a rest.
    let r = s.neg_mul_add(n, s.splat(1.570_312_5), x);
    let r = s.neg_mul_add(n, s.splat(4.837_513e-4), r);
    let r = s.neg_mul_add(n, s.splat(7.549_533_6e-8), r);
    (s.to_i32_trunc(n), s.neg_mul_add(n, s.splat(2.563_344e-12), r))
}

/// `sin(n pi / 2 + r)`: `r + r^3 S(r^2)` or `1 - r^2 / 2 + r^4 C(r^2)`, by the lowest bits of `n`.
#[inline(always)]
fn sin_quadrant<S: Simd>(s: S, n: S::I32, r: S::F32) -> S::F32 {
    let r2 = s.mul(r, r);
    let sine = polynomial(s, r2, [-0.166_666_54, 0.008_332_1, -0.000_195_069_33]);
    let sine = s.mul_add(s.mul(r2, r), sine, r);
    let cosine = polynomial(s, r2, [0.041_666_646, -0.001_388_723_5, 2.442_374_2e-5]);
    let cosine = s.mul_add(s.mul(r2, r2), cosine, s.neg_mul_add(s.splat(0.5), r2, s.splat(1.0)));
    let odd = s.eq_i32(s.and_i32(n, s.splat_i32(1)), s.splat_i32(1));
    let y = s.select(odd, cosine, sine);
    let sign = s.shl_i32::<30>(s.and_i32(n, s.splat_i32(2)));
    s.bits_to_f32(s.xor_i32(s.to_bits(y), sign))
}

/// `1 / (1 + e^-x)`, relative error below 2.5e-7 (for `x < -87` the result is subnormal and less exact).
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.neg(x))))
}

/// Hyperbolic tangent, relative error below 2.5e-7.
///
/// `x + x^3 P(x^2)` below 0.625, else `1 - 2 / (e^2x + 1)`.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let t = s.abs(x);
    let x2 = s.mul(x, x);
    let p = polynomial(s, x2, [-0.333_332_84, 0.133_314_91, -0.053_743_497, 0.020_650_586, -0.005_717_044_7]);
    let small = s.mul_add(s.mul(p, x2), x, x);
    let one = s.splat(1.0);
    // Past 10 the result is 1. min(10, t) keeps NaN.
    let u = s.min(s.splat(10.0), t);
    let e = exp_bounded(s, s.add(u, u));
    let large = s.sub(one, s.div(s.splat(2.0), s.add(e, one)));
    // The sign last: 0 in `small` has lost it.
    s.copysign(s.select(s.lt(t, s.splat(0.625)), small, large), x)
}

/// The error function, relative error below 2.5e-7.
///
/// `x + x P(x^2)` below 0.921875, else `1 - e^-u(x)` with `u` a fit of `-ln erfc` up to 4, where erf rounds to 1.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let t = s.abs(x);
    let x2 = s.mul(x, x);
    let p = polynomial(
        s,
        x2,
        [0.128_379_15, -0.376_125_07, 0.112_819_27, -0.026_770_217, 0.004_997_980_3, -6.013_285_6e-4],
    );
    let small = s.mul_add(p, x, x);
    // min(4, t) keeps NaN.
    let u = s.min(s.splat(4.0), t);
    let log_erfc = polynomial(
        s,
        u,
        [-0.128_513_77, -0.635_720_3, -0.105_259_23, 0.022_888_295, -0.003_214_436_4, 2.139_220_5e-4],
    );
    let log_erfc = s.sub(s.mul(log_erfc, u), u);
    let large = s.sub(s.splat(1.0), exp_bounded(s, log_erfc));
    s.select(s.lt(t, s.splat(0.921_875)), small, s.copysign(large, x))
}

/// `x P(x)` with P the normal distribution function, `(1 + erf(x / sqrt 2)) / 2`; error below 1.5e-7 `|x|`.
///
/// `P(-t sqrt 2) = erfc(t) / 2 = e^(t (p(t) - t)) / 2` with p a fit up to 6, past which P is below 2e-17: no branches, and
/// nothing cancels for negative x.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // A lower bound on x makes the limit at minus infinity (nearly) 0. It comes first, which keeps NaN.
    let x = s.max(s.splat(-8.5), x);
    let t = s.min(s.splat(6.0), s.mul(s.abs(x), s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    let p = polynomial(
        s,
        t,
        [
            -1.128_384_4,
            0.363_463,
            -0.103_201_956,
            0.020_156_993,
            -0.001_096_210_7,
            -0.000_785_673_15,
            0.000_286_475_87,
            -4.742_845e-5,
            4.043_035_5e-6,
            -1.425_773_8e-7,
        ],
    );
    let tail = s.mul(s.splat(0.5), exp_bounded(s, s.mul(s.sub(p, t), t)));
    s.mul(x, s.select(s.lt(x, s.zero()), tail, s.sub(s.splat(1.0), tail)))
}
