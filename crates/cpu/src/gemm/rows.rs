//! Sources of the rows of A.

use super::matrix::MatRef;
use super::tile::{A_STRIDE, K_BLOCK};
use crate::simd::Simd;
use std::ops::Range;

/// The left-hand operand of a product, row by row.
pub(crate) trait Rows: Sync {
    /// M.
    fn count(&self) -> usize;
    /// K.
    fn depth(&self) -> usize;
    /// in place
    fn in_place(&self) -> Option<(*const f32, usize)>;
    /// Copies elements `k` (at most [`K_BLOCK`]) of `rows` to `dst`, rows [`A_STRIDE`] apart. The up to `LANES` elements
    /// after each row may be overwritten.
    ///
    /// # Safety
    /// The ranges must lie within `count` and `depth`, and `dst` be writable for `rows.len()` times [`A_STRIDE`].
    unsafe fn copy<S: Simd>(&self, s: S, rows: Range<usize>, k: Range<usize>, dst: *mut f32);
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

impl Rows for MatRef<'_> {
    fn count(&self) -> usize {
        self.rows
    }
    fn depth(&self) -> usize {
        self.cols
    }
    fn in_place(&self) -> Option<(*const f32, usize)> {
        std::env::var("COPY").is_err().then_some((self.data.as_ptr(), self.stride))
    }
    #[inline(always)]
    unsafe fn copy<S: Simd>(&self, s: S, rows: Range<usize>, k: Range<usize>, dst: *mut f32) {
        debug_assert!(rows.end <= self.rows && k.end <= self.cols && k.len() <= K_BLOCK);
        for (i, row) in rows.enumerate() {
            // SAFETY: row and k are in range, so the run is within `data`; dst by the contract.
            unsafe {
                let src = self.data.as_ptr().add(row * self.stride + k.start);
                copy_run(s, src, dst.add(i * A_STRIDE), k.len());
            }
        }
    }
}
