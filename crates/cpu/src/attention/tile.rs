//! The softmax of a tile of scores, a block of keys at a time (Milakov and Gimelshein, 2018,
//! <https://arxiv.org/abs/1805.02867>).

use crate::simd::{self, Kernel, Simd, math};

/// Mask of some rows: what is added to their scores, or stands in their place.
#[derive(Clone, Copy)]
pub(super) struct MaskRows<'a> {
    /// From the mask of the first row's first key on.
    pub(super) values: &'a [f32],
    /// Distance of rows.
    pub(super) stride: usize,
    /// Whether a row has one value for all keys.
    pub(super) constant: bool,
    /// Whether a value that is not 0 replaces the score; otherwise it is added.
    pub(super) replaces: bool,
}

/// Turns scores into exponentials, and rescales what earlier blocks of keys gave.
pub(super) struct Softmax<'a> {
    /// Rows `stride` apart, of which the first `width` elements count.
    pub(super) scores: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) width: usize,
    /// The keys that each row sees; the others get 0.
    pub(super) seen: &'a [[usize; 2]],
    pub(super) mask: Option<MaskRows<'a>>,
    /// `c` of `c tanh(score / c)`; 0 for none.
    pub(super) softcap: f32,
    /// For each row, the greatest score and the sum of the exponentials so far.
    pub(super) greatest: &'a mut [f32],
    pub(super) sums: &'a mut [f32],
    /// For each row, the sum of values so far, `out_width` elements; none in the first block.
    pub(super) out: &'a mut [f32],
    pub(super) out_width: usize,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, &[from, to]) in self.seen.iter().enumerate() {
            let row = &mut self.scores[i * self.stride..][..self.width];
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            let row = &mut row[from..to];
            if row.is_empty() {
                continue;
            }
            if self.softcap > 0.0 {
                let (cap, inverse) = (s.splat(self.softcap), s.splat(1.0 / self.softcap));
                simd::map_in_place(
                    s,
                    row,
                    #[inline(always)]
                    |x| s.mul(cap, math::tanh(s, s.mul(x, inverse))),
                );
            }
            let greatest = match self.mask {
                None => s.max_lane(simd::fold(
                    s,
                    row,
                    f32::NEG_INFINITY,
                    #[inline(always)]
                    |a, b| s.max(a, b),
                )),
                Some(mask) => masked(s, row, mask, i * mask.stride, from),
            };
            let old = self.greatest[i];
            let new = old.max(greatest);
            // Where all is hidden, any shift gives zeros.
            let shift = if new == f32::NEG_INFINITY { 0.0 } else { new };
            let sum = exponentials(s, row, shift);
            let factor = if old == new { 1.0 } else { (old - shift).exp() };
            self.sums[i] = self.sums[i] * factor + sum;
            self.greatest[i] = new;
            if factor != 1.0 && !self.out.is_empty() {
                let factor = s.splat(factor);
                let out = &mut self.out[i * self.out_width..][..self.out_width];
                simd::map_in_place(
                    s,
                    out,
                    #[inline(always)]
                    |x| s.mul(x, factor),
                );
            }
        }
    }
}

/// Masks a row, whose mask starts at `start`, from its key `from` on; gives the greatest score.
#[inline(always)]
fn masked<S: Simd>(s: S, row: &mut [f32], mask: MaskRows<'_>, start: usize, from: usize) -> f32 {
    let hidden = s.splat(f32::NEG_INFINITY);
    // A hidden key does not matter, whatever its score is.
    let apply = |x, m| {
        if mask.replaces {
            s.select(s.eq(m, s.zero()), x, m)
        } else {
            s.select(s.eq(m, hidden), hidden, s.add(x, m))
        }
    };
    if mask.constant {
        let m = s.splat(mask.values[start]);
        simd::map_in_place(
            s,
            row,
            #[inline(always)]
            |x| apply(x, m),
        );
        let greatest = simd::fold(
            s,
            row,
            f32::NEG_INFINITY,
            #[inline(always)]
            |a, b| s.max(a, b),
        );
        return s.max_lane(greatest);
    }
    let values = &mask.values[start + from..][..row.len()];
    let mut acc = [hidden; 2];
    let mut rows = row.chunks_exact_mut(S::LANES);
    let mut masks = values.chunks_exact(S::LANES);
    for (row, mask) in (&mut rows).zip(&mut masks) {
        let y = apply(s.load(row), s.load(mask));
        s.store(row, y);
        acc = [acc[1], s.max(acc[0], y)];
    }
    let (tail, mask) = (rows.into_remainder(), masks.remainder());
    if !tail.is_empty() {
        let y = apply(s.load_partial(tail), s.load_partial(mask));
        s.store_partial(tail, y);
        acc[0] = s.max(acc[0], s.select(s.first(tail.len()), y, hidden));
    }
    s.max_lane(s.max(acc[0], acc[1]))
}

/// `x = exp(x - shift)`; gives their sum.
#[inline(always)]
fn exponentials<S: Simd>(s: S, row: &mut [f32], shift: f32) -> f32 {
    let shift = s.splat(shift);
    let mut acc = [s.zero(); 2];
    let mut chunks = row.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        let y = math::exp_negative(s, s.sub(s.load(chunk), shift));
        s.store(chunk, y);
        acc = [acc[1], s.add(acc[0], y)];
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        let y = math::exp_negative(s, s.sub(s.load_partial(tail), shift));
        s.store_partial(tail, y);
        acc[0] = s.add(acc[0], s.select(s.first(tail.len()), y, s.zero()));
    }
    s.sum(s.add(acc[0], acc[1]))
}

/// `to = from * factor`.
pub(super) struct Scale<'a> {
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
    pub(super) factor: f32,
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.factor);
        simd::map(
            s,
            self.from,
            self.to,
            #[inline(always)]
            |x| s.mul(x, factor),
        );
    }
}

/// The greatest of the rows' lengths (square roots of the sums of squares); infinite if one is not a number.
pub(super) struct GreatestNorm<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) width: usize,
}

impl Kernel for GreatestNorm<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut greatest = 0f32;
        for i in 0..self.rows {
            let mut acc = s.zero();
            let row = &self.values[i * self.stride..][..self.width];
            let mut chunks = row.chunks_exact(S::LANES);
            for chunk in &mut chunks {
                let x = s.load(chunk);
                acc = s.mul_add(x, x, acc);
            }
            let x = s.load_partial(chunks.remainder());
            let square = s.sum(s.mul_add(x, x, acc));
            if square.is_nan() {
                return f32::INFINITY;
            }
            greatest = greatest.max(square);
        }
        greatest.sqrt()
    }
}
