//! Allocations that fail with an error, not an abort.

use bytemuck::{Pod, Zeroable};

use crate::TensorError;

/// A zeroed vector of `len` elements.
///
/// # Errors
/// [`TensorError::OutOfMemory`] when the allocator refuses.
pub fn zeroed<T: Zeroable>(len: usize) -> Result<Vec<T>, TensorError> {
    let refused = || TensorError::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) };
    bytemuck::allocation::try_zeroed_slice_box::<T>(len).map(Vec::from).map_err(|()| refused())
}

/// The items of an iterator that gives `len` of them.
///
/// # Errors
/// [`TensorError::OutOfMemory`] when the allocator refuses.
pub fn collected<T>(len: usize, items: impl Iterator<Item = T>) -> Result<Vec<T>, TensorError> {
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
