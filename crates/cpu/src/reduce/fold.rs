//! Folds of vectors: the steps that reductions are made of.

use crate::simd::Simd;

/// How elements are combined, as vectors.
pub(crate) trait Fold: Copy + Send + Sync {
    /// What changes nothing.
    const NEUTRAL: f32;
    /// What is combined, of an element; `shift` is what [`ExpSum`] and [`DistanceSum`] subtract.
    fn map<S: Simd>(self, s: S, x: S::F32, shift: S::F32) -> S::F32;
    /// Combines two.
    fn join<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32;
    /// Combines all lanes.
    fn lanes<S: Simd>(self, s: S, v: S::F32) -> f32;
    /// Combines two results.
    fn results(self, a: f64, b: f64) -> f64;
}

macro_rules! sums {
    ($($(#[$doc:meta])* $name:ident |$s:ident, $x:ident, $shift:ident| $map:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;
        impl Fold for $name {
            const NEUTRAL: f32 = 0.0;
            #[inline(always)]
            fn map<S: Simd>(self, $s: S, $x: S::F32, $shift: S::F32) -> S::F32 { $map }
            #[inline(always)]
            fn join<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 { s.add(a, b) }
            #[inline(always)]
            fn lanes<S: Simd>(self, s: S, v: S::F32) -> f32 { s.sum(v) }
            #[inline(always)]
            fn results(self, a: f64, b: f64) -> f64 { a + b }
        }
    )*};
}

sums! {
    /// `x`.
    Sum |_s, x, _shift| x;
    /// `|x|`.
    MagnitudeSum |s, x, _shift| s.abs(x);
    /// `x x`.
    SquareSum |s, x, _shift| s.mul(x, x);
    /// `(x - shift)^2`.
    DistanceSum |s, x, shift| {
        let distance = s.sub(x, shift);
        s.mul(distance, distance)
    };
    /// `e^(x - shift)`.
    ExpSum |s, x, shift| crate::simd::math::exp(s, s.sub(x, shift));
}

/// The product.
#[derive(Clone, Copy)]
pub(crate) struct Product;

impl Fold for Product {
    const NEUTRAL: f32 = 1.0;
    #[inline(always)]
    fn map<S: Simd>(self, _s: S, x: S::F32, _shift: S::F32) -> S::F32 {
        x
    }
    #[inline(always)]
    fn join<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.mul(a, b)
    }
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, v: S::F32) -> f32 {
        let mut lanes = [1.0; 16];
        s.store(&mut lanes, v);
        lanes.iter().product()
    }
    #[inline(always)]
    fn results(self, a: f64, b: f64) -> f64 {
        a * b
    }
}

/// The greatest (or, negated, the least), NaN if there is one.
macro_rules! extreme {
    ($(#[$doc:meta])* $name:ident, $neutral:expr, $pick:ident, $lanes:ident, $cmp:tt) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;
        impl Fold for $name {
            const NEUTRAL: f32 = $neutral;
            #[inline(always)]
            fn map<S: Simd>(self, _s: S, x: S::F32, _shift: S::F32) -> S::F32 { x }
            #[inline(always)]
            fn join<S: Simd>(self, s: S, a: S::F32, b: S::F32) -> S::F32 {
                s.select(s.is_nan(a), a, s.$pick(a, b))
            }
            #[inline(always)]
            fn lanes<S: Simd>(self, s: S, v: S::F32) -> f32 {
                if s.any(s.is_nan(v)) { f32::NAN } else { s.$lanes(v) }
            }
            #[inline(always)]
            fn results(self, a: f64, b: f64) -> f64 {
                if a.is_nan() || a $cmp b { a } else { b }
            }
        }
    };
}

extreme!(
    /// The greatest; NaN if there is one.
    Greatest, f32::NEG_INFINITY, max, max_lane, >
);
extreme!(
    /// The least; NaN if there is one.
    Least, f32::INFINITY, min, min_lane, <
);

/// Elements that are summed in f32 before the sum is taken to f64.
const PIECE: usize = 4096;

/// The fold of a row.
#[inline(always)]
pub(crate) fn fold_row<S: Simd, F: Fold>(s: S, f: F, x: &[f32], shift: f32) -> f64 {
    let mut result = f64::from(F::NEUTRAL);
    let shift = s.splat(shift);
    for piece in x.chunks(PIECE) {
        let neutral = s.splat(F::NEUTRAL);
        if piece.len() <= 4 * S::LANES {
            // Short rows are mostly beginning and end: one chain is enough.
            let mut acc = neutral;
            let mut blocks = piece.chunks_exact(S::LANES);
            for block in &mut blocks {
                acc = f.join(s, acc, f.map(s, s.load(block), shift));
            }
            let tail = blocks.remainder();
            if !tail.is_empty() {
                let last = f.map(s, s.load_partial(tail), shift);
                acc = f.join(s, acc, s.select(s.first(tail.len()), last, neutral));
            }
            result = f.results(result, f64::from(f.lanes(s, acc)));
            continue;
        }
        let mut acc = [neutral; 4];
        let mut blocks = piece.chunks_exact(4 * S::LANES);
        for block in &mut blocks {
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = f.join(s, *acc, f.map(s, s.load(&block[i * S::LANES..]), shift));
            }
        }
        let mut rest = blocks.remainder().chunks_exact(S::LANES);
        for x in &mut rest {
            acc[0] = f.join(s, acc[0], f.map(s, s.load(x), shift));
        }
        let tail = rest.remainder();
        if !tail.is_empty() {
            let last = f.map(s, s.load_partial(tail), shift);
            acc[1] = f.join(s, acc[1], s.select(s.first(tail.len()), last, neutral));
        }
        let all = f.join(s, f.join(s, acc[0], acc[1]), f.join(s, acc[2], acc[3]));
        result = f.results(result, f64::from(f.lanes(s, all)));
    }
    result
}

/// Folds each element of `x` onto that of `acc`.
#[inline(always)]
pub(crate) fn fold_onto<S: Simd, F: Fold>(s: S, f: F, acc: &mut [f32], x: &[f32], shifts: &[f32]) {
    let n = acc.len();
    assert!(x.len() == n && shifts.len() == n);
    let whole = n - n % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let mapped = f.map(s, s.load(&x[i..]), s.load(&shifts[i..]));
        let joined = f.join(s, s.load(&acc[i..]), mapped);
        s.store(&mut acc[i..], joined);
    }
    if whole < n {
        let mapped = f.map(s, s.load_partial(&x[whole..]), s.load_partial(&shifts[whole..]));
        let joined = f.join(s, s.load_partial(&acc[whole..]), mapped);
        s.store_partial(&mut acc[whole..], joined);
    }
}
