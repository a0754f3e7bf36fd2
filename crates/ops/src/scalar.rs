//! Functions of one number that the standard library lacks, in f64.

use std::f64::consts::PI;

/// The error function `2 / sqrt(pi) * integral of exp(-t^2) from 0 to x`, within a few units of the last place.
pub fn erf(x: f64) -> f64 {
    if x.abs() < SERIES_ENDS { erf_series(x) } else { x.signum() * (1.0 - erfc_fraction(x.abs())) }
}

/// The complement `1 - erf(x)`, without its cancellation for great `x`.
pub fn erfc(x: f64) -> f64 {
    if x < SERIES_ENDS { 1.0 - erf(x) } else { erfc_fraction(x) }
}

const SERIES_ENDS: f64 = 2.0;

/// Abramowitz and Stegun 7.1.6: all terms have one sign, so nothing cancels.
fn erf_series(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    let mut n = 0.0;
    while term.abs() > sum.abs() * (f64::EPSILON / 4.0) {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Abramowitz and Stegun 7.1.14, the continued fraction, evaluated backwards.
fn erfc_fraction(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let fraction = (1..=120).rev().fold(x, |below, k| x + f64::from(k) / 2.0 / below);
    (-x * x).exp() / (PI.sqrt() * fraction)
}

/// `1 / (1 + exp(-x))`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + exp(x))`, without overflow.
pub fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// -1, 0 or 1; NaN for NaN.
pub fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// The greater one; NaN if either is.
pub fn maximum(x: f64, y: f64) -> f64 {
    if x.is_nan() || x > y { x } else { y }
}

/// The smaller one; NaN if either is.
pub fn minimum(x: f64, y: f64) -> f64 {
    if x.is_nan() || x < y { x } else { y }
}

/// `x - floor(x / y) * y`, exactly: the remainder has the sign of `y`.
pub fn floor_mod(x: f64, y: f64) -> f64 {
    let rest = x % y;
    if rest == 0.0 {
        0f64.copysign(y)
    } else if (rest < 0.0) != (y < 0.0) {
        rest + y
    } else {
        rest
    }
}

/// The Gaussian error linear unit `x * P(X <= x)` for normal `X`.
pub fn gelu(x: f64) -> f64 {
    0.5 * x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// [`gelu`] by its approximation with `tanh`.
pub fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_and_erfc_match_tables() {
        // Values to 17 digits from Python's `math.erf` and `math.erfc`.
        let erf_table = [
            (0.0, 0.0),
            (1e-10, 1.1283791670955126e-10),
            (0.5, 0.5204998778130465),
            (-1.0, -0.8427007929497149),
            (1.9, 0.9927904292352575),
            (2.1, 0.997020533343667),
            (-3.5, -0.9999992569016276),
            (30.0, 1.0),
        ];
        for (x, expected) in erf_table {
            assert!((erf(x) - expected).abs() <= 1e-15 * expected.abs(), "erf({x}) = {}", erf(x));
        }
        for (x, expected) in [
            (0.5, 0.4795001221869535),
            (2.0, 0.004677734981047266),
            (5.0, 1.5374597944280351e-12),
            (-4.0, 1.999999984582742),
        ] {
            assert!((erfc(x) / expected - 1.0).abs() < 1e-13, "erfc({x}) = {}", erfc(x));
        }
        assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
        assert_eq!([erf(f64::INFINITY), erf(f64::NEG_INFINITY), erfc(f64::INFINITY)], [1.0, -1.0, 0.0]);
    }

    #[test]
    fn extremes_stay_finite_or_nan() {
        assert_eq!([sigmoid(-1e9), sigmoid(1e9), softplus(-1e9), softplus(1e9)], [0.0, 1.0, 0.0, 1e9]);
        assert_eq!(gelu(-1e9), -0.0);
        assert_eq!(floor_mod(-5.5, 2.0), 0.5);
        assert_eq!(floor_mod(4.0, -2.0).to_bits(), (-0f64).to_bits());
        assert!(
            maximum(f64::NAN, 1.0).is_nan()
                && maximum(1.0, f64::NAN).is_nan()
                && minimum(1.0, f64::NAN).is_nan()
        );
        assert!(sign(f64::NAN).is_nan() && softplus(f64::NAN).is_nan());
    }
}
