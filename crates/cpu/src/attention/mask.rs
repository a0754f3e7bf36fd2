//! Which keys a mask leaves to each query: those beyond need not be computed.
//!
//! A score that lies far enough below the greatest of its row has a probability of exactly 0 in f32, so besides minus
//! infinity the large negative numbers that models use (-1e4, -1e9, the least float) hide a key too, provided that the
//! scores themselves are not of that size, which the lengths of queries and keys bound.

use inferrum_graph::OpError;
use inferrum_tensor::Shape;

use crate::simd::{self, Isa, Kernel, Simd};
use crate::threads::{Shared, Threads};
use std::sync::atomic::{AtomicBool, Ordering};

/// A value this far below the greatest of its row may hide its key.
const FAR: f32 = 4000.0;
/// `exp(-104)` is 0 in f32.
const UNDERFLOW: f32 = 104.0;

/// Whether keys that lie [`FAR`] below have a probability of 0, where scores are at most `bound` in magnitude.
pub(super) fn hides(bound: f32) -> bool {
    2.0 * bound + UNDERFLOW < FAR
}

/// A mask's layout.
#[derive(Clone, Debug)]
pub(super) struct MaskPlan {
    /// Distances of batches, heads, queries; 0 where it is broadcast.
    pub(super) strides: [usize; 3],
    /// Values of a query: one for each key, or one, or (where it hides the rest) fewer.
    pub(super) last: usize,
    /// Whether a query's one value holds for every key.
    pub(super) constant: bool,
    /// Number of values.
    pub(super) elements: usize,
    /// The values are truths: false gives this score.
    pub(super) bool_fill: Option<f32>,
}

impl MaskPlan {
    /// The plan of a mask whose `shape` broadcasts to `[batch, heads, queries, keys]`, except that a last extent below
    /// that of the keys hides the rest where `short` says so.
    pub(super) fn new(shape: &Shape, keys: usize, short: bool, bool_fill: Option<f32>) -> MaskPlan {
        let own = shape.strides();
        let mut strides = [0; 3];
        let offset = 4 - shape.rank();
        for (axis, place) in (offset..3).enumerate() {
            strides[place] = if shape[axis] == 1 { 0 } else { own[axis] };
        }
        let last = shape.last().copied().unwrap_or(1);
        let constant = last == 1 && keys != 1 && !short;
        MaskPlan { strides, last, constant, elements: shape.elements(), bool_fill }
    }

    /// Rows of values.
    pub(super) fn rows(&self) -> usize {
        self.elements.checked_div(self.last).unwrap_or(0)
    }

    /// Words of scratch memory for a run: the keys that each row sees, and the values of a mask of bools.
    pub(super) fn scratch(&self) -> usize {
        2 * self.rows() + self.bool_fill.map_or(0, |_| self.elements)
    }

    /// Converts and looks through the mask of a run.
    pub(super) fn bind<'a>(
        &'a self,
        isa: Isa,
        threads: &Threads,
        given: Given<'a>,
        scratch: &'a mut [u32],
    ) -> Result<BoundMask<'a>, OpError> {
        let misfit = || OpError::Invalid("a buffer does not fit its shape".into());
        let (seen, converted) = scratch.split_at_mut_checked(2 * self.rows()).ok_or_else(misfit)?;
        let seen: &mut [[u32; 2]] = bytemuck::cast_slice_mut(seen);
        let converted: &mut [f32] = bytemuck::cast_slice_mut(converted);
        let values = match given {
            Given::Added(values) => values,
            Given::Truths(truths) => {
                let fill = self.bool_fill.unwrap_or(f32::NEG_INFINITY);
                let pairs = converted.iter_mut().zip(truths);
                pairs.for_each(|(value, truth)| *value = if *truth { 0.0 } else { fill });
                converted
            }
        };
        if values.len() != self.elements {
            return Err(misfit());
        }
        let soft = AtomicBool::new(false);
        if !self.constant && self.last > 0 {
            let at_once = (16384 / self.last).max(1);
            let shared = Shared(seen.as_mut_ptr());
            let rows = self.rows();
            threads.par_for(rows.div_ceil(at_once), |task| {
                let rows = task * at_once..rows.min((task + 1) * at_once);
                // SAFETY: the rows are within `seen`, which is borrowed for the call, and belong to this task alone.
                let seen =
                    unsafe { std::slice::from_raw_parts_mut(shared.get().add(rows.start), rows.len()) };
                let values = &values[rows.start * self.last..rows.end * self.last];
                if isa.dispatch(Look { values, last: self.last, seen }) {
                    soft.store(true, Ordering::Relaxed);
                }
            });
        }
        Ok(BoundMask { plan: self, values, seen, soft: soft.into_inner() })
    }
}

/// A mask's elements.
pub(super) enum Given<'a> {
    /// Numbers to be added.
    Added(&'a [f32]),
    /// True keeps a key.
    Truths(&'a [bool]),
}

/// The mask of a run.
pub(super) struct BoundMask<'a> {
    pub(super) plan: &'a MaskPlan,
    pub(super) values: &'a [f32],
    /// For each row of values, the keys from the first to the last that are not hidden.
    seen: &'a [[u32; 2]],
    /// Whether a key outside `seen` has a finite value, so that it is hidden only if scores are small.
    pub(super) soft: bool,
}

impl BoundMask<'_> {
    /// The keys that the row whose values start at `offset` sees, of `keys`; all unless `hides`.
    pub(super) fn seen(&self, offset: usize, keys: usize, hides: bool) -> [usize; 2] {
        let reach = if self.plan.constant { keys } else { keys.min(self.plan.last) };
        if self.plan.constant || self.plan.last == 0 || (self.soft && !hides) {
            return [0, reach];
        }
        self.seen[offset / self.plan.last].map(|key| key as usize)
    }
}

/// Finds what each row sees; gives whether it hides a key by a finite value.
struct Look<'a> {
    values: &'a [f32],
    last: usize,
    seen: &'a mut [[u32; 2]],
}

impl Kernel for Look<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let mut soft = false;
        for (row, seen) in self.values.chunks_exact(self.last).zip(self.seen) {
            let greatest = simd::fold(
                s,
                row,
                f32::NEG_INFINITY,
                #[inline(always)]
                |a, b| s.max(a, b),
            );
            let greatest = s.max_lane(greatest);
            // Not the negation of `<`: what is not a number is seen.
            let hidden = |x: f32| x < greatest - FAR || x == f32::NEG_INFINITY;
            let first = row.iter().position(|&x| !hidden(x)).unwrap_or(row.len());
            let end = row.iter().rposition(|&x| !hidden(x)).map_or(first, |last| last + 1);
            *seen = [first.min(end) as u32, end as u32];
            let outside = || row[..first.min(end)].iter().chain(&row[end..]);
            soft |= outside().any(|&x| x != f32::NEG_INFINITY);
        }
        soft
    }
}
