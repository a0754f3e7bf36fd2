//! Whole tensors to the device and back, outside of plans.

use std::sync::Arc;

use inferrum_backend::BackendError;
use inferrum_tensor::{AlignedBytes, DType, Shape, Tensor, TensorError};

use crate::driver::{Address, Driver};

/// Bytes that are copied at once: page-locked memory is dear.
const CHUNK: usize = 16 << 20;

/// Copies bytes to the device, and waits.
///
/// # Errors
/// No memory, or the device has failed.
pub(crate) fn upload(driver: &Arc<dyn Driver>, to: Address, bytes: &[u8]) -> Result<(), BackendError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut pinned = driver.pinned(bytes.len().min(CHUNK))?;
    let mut stream = driver.stream()?;
    for (number, chunk) in bytes.chunks(CHUNK).enumerate() {
        pinned.bytes_mut()[..chunk.len()].copy_from_slice(chunk);
        stream.upload(to.offset(number * CHUNK), &*pinned, chunk.len())?;
        stream.wait()?;
    }
    Ok(())
}

/// A tensor of what stands in the device's memory.
///
/// # Errors
/// No memory, or the device has failed.
pub(crate) fn download(
    driver: &Arc<dyn Driver>,
    from: Address,
    dtype: DType,
    shape: &Shape,
) -> Result<Tensor, BackendError> {
    let len = shape.elements().saturating_mul(dtype.size());
    let mut elements = AlignedBytes::zeroed(len).map_err(refused)?;
    let mut pinned = driver.pinned(len.clamp(1, CHUNK))?;
    let mut stream = driver.stream()?;
    for (number, chunk) in elements.as_mut().chunks_mut(CHUNK).enumerate() {
        stream.download(from.offset(number * CHUNK), &mut *pinned, chunk.len())?;
        stream.wait()?;
        chunk.copy_from_slice(&pinned.bytes()[..chunk.len()]);
    }
    Tensor::from_aligned(dtype, shape.clone(), elements).map_err(refused)
}

fn refused(error: TensorError) -> BackendError {
    BackendError::Device(error.to_string())
}
