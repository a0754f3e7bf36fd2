//! Allocations that fail with an error, not an abort.

use std::cell::Cell;
use std::marker::PhantomData;

use bytemuck::{Pod, Zeroable};

use crate::TensorError;

thread_local! {
    static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// While it lives, this crate's allocations refuse more than some number of bytes at once on this thread. The system's
/// allocator alone is no check: it promises memory that it does not have.
#[derive(Debug)]
#[must_use = "the limit holds while this value lives"]
pub struct AllocationLimit {
    before: usize,
    /// The limit is the thread's.
    thread: PhantomData<*const ()>,
}

impl AllocationLimit {
    /// Limits one allocation to `bytes`, or to what an outer limit allows if that is less.
    pub fn new(bytes: usize) -> AllocationLimit {
        let before = LIMIT.get();
        LIMIT.set(before.min(bytes));
        AllocationLimit { before, thread: PhantomData }
    }

    /// An error if `len` items of `T` are more than the thread's limit: for vectors that grow.
    ///
    /// # Errors
    /// [`TensorError::OutOfMemory`].
    pub fn check<T>(len: usize) -> Result<(), TensorError> {
        let bytes = len.saturating_mul(size_of::<T>());
        if bytes > LIMIT.get() { Err(TensorError::OutOfMemory { bytes }) } else { Ok(()) }
    }
}

impl Drop for AllocationLimit {
    fn drop(&mut self) {
        LIMIT.set(self.before);
    }
}

/// A zeroed vector of `len` elements.
///
/// # Errors
/// [`TensorError::OutOfMemory`] when the allocator or the thread's [`AllocationLimit`] refuses.
pub fn zeroed<T: Zeroable>(len: usize) -> Result<Vec<T>, TensorError> {
    AllocationLimit::check::<T>(len)?;
    let refused = || TensorError::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) };
    bytemuck::allocation::try_zeroed_slice_box::<T>(len).map(Vec::from).map_err(|()| refused())
}

/// `len` clones of `item`.
///
/// # Errors
/// [`TensorError::OutOfMemory`] when the allocator or the thread's [`AllocationLimit`] refuses.
pub fn filled<T: Clone>(len: usize, item: T) -> Result<Vec<T>, TensorError> {
    collected(len, std::iter::repeat_n(item, len))
}

/// The items of an iterator that gives `len` of them.
///
/// # Errors
/// [`TensorError::OutOfMemory`] when the allocator or the thread's [`AllocationLimit`] refuses.
pub fn collected<T>(len: usize, items: impl Iterator<Item = T>) -> Result<Vec<T>, TensorError> {
    AllocationLimit::check::<T>(len)?;
    let mut out = Vec::new();
    let refused = |_| TensorError::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) };
    out.try_reserve_exact(len).map_err(refused)?;
    out.extend(items);
    Ok(out)
}

/// Bytes whose first is aligned to a cache line, for any element type and any vector instruction.
#[derive(Debug)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl AlignedBytes {
    /// `len` bytes of zero.
    ///
    /// # Errors
    /// [`TensorError::OutOfMemory`] when the allocator refuses.
    pub fn zeroed(len: usize) -> Result<AlignedBytes, TensorError> {
        Ok(AlignedBytes { lines: zeroed(len.div_ceil(size_of::<Line>()))?, len })
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`TensorError::OutOfMemory`] when the allocator refuses.
    pub fn copy_of(bytes: &[u8]) -> Result<AlignedBytes, TensorError> {
        let mut copy = AlignedBytes::zeroed(bytes.len())?;
        copy.as_mut().copy_from_slice(bytes);
        Ok(copy)
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl AsMut<[u8]> for AlignedBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_while_it_lives_and_an_inner_one_cannot_widen_it() {
        let refused = TensorError::OutOfMemory { bytes: 800 };
        {
            let _limit = AllocationLimit::new(100);
            let _wider = AllocationLimit::new(1 << 40);
            assert_eq!(zeroed::<f64>(100), Err(refused.clone()));
            assert_eq!(filled(100, 1.0f64), Err(refused));
            assert_eq!(zeroed::<u8>(100), Ok(vec![0; 100]));
            assert!(AlignedBytes::zeroed(1000).is_err());
            assert!(std::thread::spawn(|| zeroed::<f64>(100)).join().is_ok_and(|free| free.is_ok()));
        }
        assert_eq!(zeroed::<f64>(100), Ok(vec![0.0; 100]));
    }

    #[test]
    fn what_the_address_space_cannot_hold_is_refused() {
        assert!(zeroed::<u64>(usize::MAX).is_err());
        assert!(filled(usize::MAX, 1u8).is_err());
        assert!(AlignedBytes::zeroed(usize::MAX).is_err());
    }
}
