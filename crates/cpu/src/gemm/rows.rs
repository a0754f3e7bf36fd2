//! The left-hand operand: rows of A, wherever they come from.

use super::matrix::MatRef;
use super::tile::{MAX_ROWS, Segment};
use crate::simd::Simd;
use std::ops::Range;

/// The left-hand operand of a product, row by row.
///
/// # Safety
/// What the methods return must describe readable memory, as stated with each; products rely on it.
pub(crate) unsafe trait Rows: Sync {
    /// M.
    fn count(&self) -> usize;
    /// K.
    fn depth(&self) -> usize;
    /// How rows can be read where they lie; None if they must be copied.
    fn in_place(&self) -> Option<InPlace>;
    /// Base address of a row, for reading in place; of the row after the last, any address.
    fn base(&self, row: usize) -> *const f32;
    /// Appends the runs of K that are contiguous in memory within `k` (in `0..depth`), as offsets from a row's base; the
    /// same for all rows, and readable in each.
    fn segments(&self, k: Range<usize>, out: &mut Vec<Segment>);
    /// Memory that `rows` neighbouring rows add to what the rows before them have read, as far as it is contiguous, for
    /// fetching it ahead: offset from the first row's base, and number of floats. It need not be exact.
    fn ahead(&self, rows: usize) -> (usize, usize);
    /// Copies elements `k` of `rows` to `dst`, rows `stride` apart. The up to `LANES - 1` elements after each row may be
    /// overwritten, in order of rows.
    ///
    /// # Safety
    /// The ranges must lie within `count` and `depth`, and `dst` be writable for all that.
    unsafe fn copy<S: Simd>(&self, s: S, rows: Range<usize>, k: Range<usize>, dst: *mut f32, stride: usize);
}

/// Rows that can be read in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InPlace {
    /// Distance of neighbouring rows.
    pub(crate) stride: usize,
    /// Number of rows over which that distance holds; it divides the number of rows.
    pub(crate) group: usize,
}

/// Copies `n` floats by whole vectors: up to `LANES - 1` more elements of `dst` are overwritten.
///
/// # Safety
/// `src` must be readable for `n` floats, `dst` writable for `n + LANES - 1`.
#[inline(always)]
pub(crate) unsafe fn copy_run<S: Simd>(s: S, src: *const f32, dst: *mut f32, n: usize) {
    let full = n - n % S::LANES;
    // SAFETY: by the contract.
    unsafe {
        for i in (0..full).step_by(S::LANES) {
            s.store_ptr(dst.add(i), s.load_ptr(src.add(i)));
        }
        if full < n {
            s.store_ptr(dst.add(full), s.load_ptr_first(src.add(full), n - full));
        }
    }
}

/// Whether rows `stride` floats apart would crowd into too few sets of the first-level cache to stay there together.
pub(crate) fn crowded(stride: usize) -> bool {
    const LINE: usize = 16;
    const SETS: usize = 64;
    const WAYS_TO_USE: usize = 8;
    let mut used = [0; SETS];
    for row in 0..MAX_ROWS {
        used[row.wrapping_mul(stride) / LINE % SETS] += 1;
    }
    // Rows within one line of each other are no burden.
    stride >= LINE && used.iter().any(|&n| n > WAYS_TO_USE)
}

// SAFETY: the constructors of MatRef check that every row lies within `data`.
unsafe impl Rows for MatRef<'_> {
    fn count(&self) -> usize {
        self.rows
    }
    fn depth(&self) -> usize {
        self.cols
    }
    fn in_place(&self) -> Option<InPlace> {
        (!crowded(self.stride)).then_some(InPlace { stride: self.stride, group: self.rows })
    }
    fn base(&self, row: usize) -> *const f32 {
        MatRef::base(self, row)
    }
    fn segments(&self, k: Range<usize>, out: &mut Vec<Segment>) {
        out.push(Segment { offset: k.start, len: k.len() });
    }
    #[inline]
    fn ahead(&self, rows: usize) -> (usize, usize) {
        (0, rows * self.stride.min(2 * self.cols))
    }
    #[inline(always)]
    unsafe fn copy<S: Simd>(&self, s: S, rows: Range<usize>, k: Range<usize>, dst: *mut f32, stride: usize) {
        for (i, row) in rows.enumerate() {
            // SAFETY: row and k are in range, so the run is within `data`; dst by the contract.
            unsafe { copy_run(s, MatRef::base(self, row).add(k.start), dst.add(i * stride), k.len()) };
        }
    }
}
