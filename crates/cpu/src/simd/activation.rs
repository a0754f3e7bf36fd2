//! Vector activation functions in f32. NaN stays NaN in all of them.
//!
//! Errors are relative to the larger of `|x|` and the result: below 4e-7, unless said otherwise.

use super::math::{erf, exp, exp_m1_negative, log_1p};
use super::vector::Simd;

/// `max(0, x)`.
#[inline(always)]
pub fn relu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.max(s.zero(), x)
}

/// `min(max(x, low), high)`.
#[inline(always)]
pub fn clip<S: Simd>(s: S, x: S::F32, low: f32, high: f32) -> S::F32 {
    s.min(s.splat(high), s.max(s.splat(low), x))
}

/// `x` where it is not negative, else `alpha x`.
#[inline(always)]
pub fn leaky_relu<S: Simd>(s: S, x: S::F32, alpha: S::F32) -> S::F32 {
    s.select(s.lt(x, s.zero()), s.mul(x, alpha), x)
}

/// `max(0, min(1, alpha x + beta))`.
#[inline(always)]
pub fn hard_sigmoid<S: Simd>(s: S, x: S::F32, alpha: f32, beta: f32) -> S::F32 {
    clip(s, s.mul_add(x, s.splat(alpha), s.splat(beta)), 0.0, 1.0)
}

/// `x max(0, min(1, x / 6 + 1 / 2))`.
#[inline(always)]
pub fn hard_swish<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.mul(x, hard_sigmoid(s, x, 1.0 / 6.0, 0.5))
}

/// `x / (1 + e^(-alpha x))`: SiLU for `alpha = 1`, the sigmoid approximation of GELU for 1.702.
#[inline(always)]
pub fn swish<S: Simd>(s: S, x: S::F32, alpha: f32) -> S::F32 {
    s.div(x, s.add(s.splat(1.0), exp(s, s.mul(x, s.splat(-alpha)))))
}

/// `x / 2 (1 + erf(x / sqrt 2))`.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let erf = erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    s.mul(s.mul(s.splat(0.5), x), s.add(s.splat(1.0), erf))
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    const SCALE: f32 = -2.0 * 0.797_884_6;
    // (1 + tanh u) / 2 = 1 / (1 + e^-2u), which loses nothing where tanh is near -1.
    let u = s.mul(x, s.mul_add(s.mul(x, x), s.splat(SCALE * 0.044_715), s.splat(SCALE)));
    s.div(x, s.add(s.splat(1.0), exp(s, u)))
}

/// `ln(1 + e^x)`, relative error below 4e-7.
#[inline(always)]
pub fn softplus<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let tail = log_1p(s, exp(s, s.neg(s.abs(x))));
    s.add(s.max(s.zero(), x), tail)
}

/// `x tanh(ln(1 + e^x))`.
///
/// With `w = e^x`, `tanh ln(1 + w) = n / (n + 2)` where `n = w (w + 2)`.
#[inline(always)]
pub fn mish<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // From 20 on the quotient is 1, and n does not overflow up to there.
    let w = exp(s, s.min(s.splat(20.0), x));
    let two = s.splat(2.0);
    let n = s.mul(w, s.add(w, two));
    s.mul(x, s.div(n, s.add(n, two)))
}

/// `x` where it is not negative, else `alpha (e^(x / scale) - 1)`.
#[inline(always)]
pub fn elu<S: Simd>(s: S, x: S::F32, alpha: f32, scale: f32) -> S::F32 {
    let below = s.mul(s.splat(alpha), exp_m1_negative(s, s.div(x, s.splat(scale))));
    s.select(s.lt(x, s.zero()), below, x)
}

/// `x / (1 + |x|)`.
#[inline(always)]
pub fn softsign<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.div(x, s.add(s.splat(1.0), s.abs(x)))
}

/// `x + bias` below `-limit`, `x - bias` above `limit`, else 0.
#[inline(always)]
pub fn shrink<S: Simd>(s: S, x: S::F32, limit: f32, bias: f32) -> S::F32 {
    let (limit, bias) = (s.splat(limit), s.splat(bias));
    let above = s.select(s.gt(x, limit), s.sub(x, bias), s.zero());
    let y = s.select(s.lt(x, s.neg(limit)), s.add(x, bias), above);
    s.select(s.is_nan(x), x, y)
}
