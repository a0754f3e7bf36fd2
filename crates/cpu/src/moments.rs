//! Mean and variance of rows, and rows normalised by them, as the normalisations share them.

use crate::reduce::fold::{DistanceSum, SquareSum, Sum, fold_row};
use crate::simd::Simd;

/// Mean of a row and `1 / sqrt(variance + epsilon)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: f32,
    pub(crate) inverse: f32,
}

impl Moments {
    /// The moments of `x`, in two passes: first the mean, then the squared distances from it.
    #[inline(always)]
    pub(crate) fn of<S: Simd>(s: S, x: &[f32], epsilon: f32) -> Moments {
        let count = x.len() as f64;
        let mean = (fold_row(s, Sum, x, 0.0) / count) as f32;
        let variance = fold_row(s, DistanceSum, x, mean) / count;
        Moments { mean, inverse: inverse_root(variance, epsilon) }
    }

    /// As [`Moments::of`], with the mean taken as 0.
    #[inline(always)]
    pub(crate) fn about_zero<S: Simd>(s: S, x: &[f32], epsilon: f32) -> Moments {
        let mean_square = fold_row(s, SquareSum, x, 0.0) / x.len() as f64;
        Moments { mean: 0.0, inverse: inverse_root(mean_square, epsilon) }
    }

    /// `y = (x - mean) * inverse * scale + bias`, element by element; `x` is `y` itself if `None`.
    #[inline(always)]
    pub(crate) fn normalize<S: Simd>(
        self,
        s: S,
        x: Option<&[f32]>,
        y: &mut [f32],
        scale: &[f32],
        bias: Option<&[f32]>,
    ) {
        let n = y.len();
        assert!(x.is_none_or(|x| x.len() == n) && scale.len() == n && bias.is_none_or(|b| b.len() == n));
        let (mean, inverse) = (s.splat(self.mean), s.splat(self.inverse));
        let whole = n - n % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let x = s.load(&x.unwrap_or(y)[i..]);
            let factor = s.mul(inverse, s.load(&scale[i..]));
            let bias = bias.map_or(s.zero(), |bias| s.load(&bias[i..]));
            s.store(&mut y[i..], s.mul_add(s.sub(x, mean), factor, bias));
        }
        if whole < n {
            let x = s.load_partial(&x.unwrap_or(y)[whole..]);
            let factor = s.mul(inverse, s.load_partial(&scale[whole..]));
            let bias = bias.map_or(s.zero(), |bias| s.load_partial(&bias[whole..]));
            s.store_partial(&mut y[whole..], s.mul_add(s.sub(x, mean), factor, bias));
        }
    }

    /// `y = (x - mean) * inverse * scale + bias` with the same scale and bias for all; `x` is `y` itself if `None`.
    #[inline(always)]
    pub(crate) fn normalize_all<S: Simd>(
        self,
        s: S,
        x: Option<&[f32]>,
        y: &mut [f32],
        scale: f32,
        bias: f32,
    ) {
        shift_scale(s, x, y, self.mean, self.inverse * scale, bias);
    }
}

/// `y = (x - shift) * factor + bias`; `x` is `y` itself if `None`.
#[inline(always)]
pub(crate) fn shift_scale<S: Simd>(
    s: S,
    x: Option<&[f32]>,
    y: &mut [f32],
    shift: f32,
    factor: f32,
    bias: f32,
) {
    let (shift, factor, bias) = (s.splat(shift), s.splat(factor), s.splat(bias));
    match x {
        Some(x) => crate::simd::map(
            s,
            x,
            y,
            #[inline(always)]
            |x| s.mul_add(s.sub(x, shift), factor, bias),
        ),
        None => crate::simd::map_in_place(
            s,
            y,
            #[inline(always)]
            |x| s.mul_add(s.sub(x, shift), factor, bias),
        ),
    }
}

/// `y = (x - shift) * factor + bias`, each element with its own; `x` is `y` itself if `None`. Panics unless all are of
/// one length.
#[inline(always)]
pub(crate) fn shift_scale_columns<S: Simd>(
    s: S,
    x: Option<&[f32]>,
    y: &mut [f32],
    shift: &[f32],
    factor: &[f32],
    bias: &[f32],
) {
    let n = y.len();
    assert!(x.is_none_or(|x| x.len() == n) && shift.len() == n && factor.len() == n && bias.len() == n);
    let whole = n - n % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let distance = s.sub(s.load(&x.unwrap_or(y)[i..]), s.load(&shift[i..]));
        s.store(&mut y[i..], s.mul_add(distance, s.load(&factor[i..]), s.load(&bias[i..])));
    }
    if whole < n {
        let load = |values: &[f32]| s.load_partial(&values[whole..]);
        let distance = s.sub(load(x.unwrap_or(y)), load(shift));
        let value = s.mul_add(distance, load(factor), load(bias));
        s.store_partial(&mut y[whole..], value);
    }
}

/// `1 / sqrt(variance + epsilon)`.
pub(crate) fn inverse_root(variance: f64, epsilon: f32) -> f32 {
    (variance + f64::from(epsilon)).sqrt().recip() as f32
}
