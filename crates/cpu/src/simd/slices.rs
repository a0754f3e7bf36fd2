//! Applying vector functions to slices, tails included.

use super::vector::Simd;

/// `out[i] = f(x[i])`. Panics unless the lengths agree. In the tail `f` also sees zeros, whose results are dropped.
#[inline(always)]
pub fn map<S: Simd>(s: S, x: &[f32], out: &mut [f32], f: impl Fn(S::F32) -> S::F32) {
    assert_eq!(x.len(), out.len());
    let mut xs = x.chunks_exact(S::LANES);
    let mut outs = out.chunks_exact_mut(S::LANES);
    for (x, out) in (&mut xs).zip(&mut outs) {
        s.store(out, f(s.load(x)));
    }
    if !xs.remainder().is_empty() {
        let y = f(s.load_partial(xs.remainder()));
        s.store_partial(outs.into_remainder(), y);
    }
}

/// `x[i] = f(x[i])`. In the tail `f` also sees zeros, whose results are dropped.
#[inline(always)]
pub fn map_in_place<S: Simd>(s: S, x: &mut [f32], f: impl Fn(S::F32) -> S::F32) {
    let mut xs = x.chunks_exact_mut(S::LANES);
    for x in &mut xs {
        let y = f(s.load(x));
        s.store(x, y);
    }
    let tail = xs.into_remainder();
    if !tail.is_empty() {
        let y = f(s.load_partial(tail));
        s.store_partial(tail, y);
    }
}

/// `out[i] = f(a[i], b[i])`. Panics unless the lengths agree. In the tail `f` also sees zeros.
#[inline(always)]
pub fn zip<S: Simd>(s: S, a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(S::F32, S::F32) -> S::F32) {
    assert!(a.len() == out.len() && b.len() == out.len());
    let full = out.len() - out.len() % S::LANES;
    let (a, a_tail) = a.split_at(full);
    let (b, b_tail) = b.split_at(full);
    let (out, out_tail) = out.split_at_mut(full);
    let pairs = a.chunks_exact(S::LANES).zip(b.chunks_exact(S::LANES));
    for ((a, b), out) in pairs.zip(out.chunks_exact_mut(S::LANES)) {
        s.store(out, f(s.load(a), s.load(b)));
    }
    if !out_tail.is_empty() {
        let y = f(s.load_partial(a_tail), s.load_partial(b_tail));
        s.store_partial(out_tail, y);
    }
}

/// `a[i] = f(a[i], b[i])`. Panics unless the lengths agree. In the tail `f` also sees zeros.
#[inline(always)]
pub fn zip_in_place<S: Simd>(s: S, a: &mut [f32], b: &[f32], f: impl Fn(S::F32, S::F32) -> S::F32) {
    assert_eq!(a.len(), b.len());
    let mut bs = b.chunks_exact(S::LANES);
    let mut all = a.chunks_exact_mut(S::LANES);
    for (a, b) in (&mut all).zip(&mut bs) {
        let y = f(s.load(a), s.load(b));
        s.store(a, y);
    }
    let tail = all.into_remainder();
    if !tail.is_empty() {
        let y = f(s.load_partial(tail), s.load_partial(bs.remainder()));
        s.store_partial(tail, y);
    }
}

/// Folds `x` into a vector of `LANES` partial results: `acc = f(acc, x[i..i + LANES])`, starting with `neutral` in every
/// lane and filling up the tail with `neutral`. Four independent chains hide the latency of `f`, so `f` must be
/// associative and commutative (up to rounding); the chains are joined by `f` too. A horizontal step
/// ([`Simd::sum`], [`Simd::max_lane`]) finishes the reduction.
#[inline(always)]
pub fn fold<S: Simd>(s: S, x: &[f32], neutral: f32, f: impl Fn(S::F32, S::F32) -> S::F32) -> S::F32 {
    let mut acc = [s.splat(neutral); 4];
    let mut blocks = x.chunks_exact(4 * S::LANES);
    for block in &mut blocks {
        for (i, acc) in acc.iter_mut().enumerate() {
            *acc = f(*acc, s.load(&block[i * S::LANES..]));
        }
    }
    let mut rest = blocks.remainder().chunks_exact(S::LANES);
    for x in &mut rest {
        acc[0] = f(acc[0], s.load(x));
    }
    if !rest.remainder().is_empty() {
        acc[1] = f(acc[1], s.load_or(rest.remainder(), neutral));
    }
    f(f(acc[0], acc[1]), f(acc[2], acc[3]))
}
