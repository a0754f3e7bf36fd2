//! Constants in the device's memory, each form once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use inferrum_backend::BackendError;
use inferrum_tensor::{Tensor, TensorError};

use crate::gpu::Gpu;
use crate::kernel::Pack;
use crate::storage;

/// The constants of a device.
#[derive(Default)]
pub(crate) struct Weights {
    held: Mutex<HashMap<Key, Held>>,
}

/// Where a constant is on the host, how many bytes it has, and its form; the tensor is held, so that the address stays its own.
type Key = (usize, usize, String);

struct Held {
    buffer: Arc<wgpu::Buffer>,
    _of: Tensor,
}

impl Weights {
    /// A constant as it is, or packed.
    ///
    /// # Errors
    /// No memory, or it cannot be packed.
    pub(crate) async fn get(
        &self,
        gpu: &Gpu,
        tensor: &Tensor,
        packing: Option<(&str, &Pack)>,
    ) -> Result<Arc<wgpu::Buffer>, BackendError> {
        let bytes = tensor.bytes();
        let form = packing.map_or("", |(form, _)| form);
        let key = (bytes.as_ptr().addr(), bytes.len(), form.to_owned());
        let lock = || self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(held) = lock().get(&key) {
            return Ok(Arc::clone(&held.buffer));
        }
        let refused = |error: TensorError| BackendError::Device(error.to_string());
        let words = match packing {
            Some((_, pack)) => Some(pack(tensor).map_err(|error| BackendError::Device(error.to_string()))?),
            None => storage::widened(tensor).map_err(refused)?,
        };
        let bytes = words.as_deref().map_or(bytes, bytemuck::cast_slice);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let buffer = Arc::new(gpu.buffer("a constant", bytes.len(), usage).await?);
        write(gpu, &buffer, bytes).await?;
        tensor.release();
        lock().insert(key, Held { buffer: Arc::clone(&buffer), _of: tensor.clone() });
        Ok(buffer)
    }

    /// Bytes of all that is held.
    pub(crate) fn bytes(&self) -> usize {
        let held = self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        held.values().map(|held| held.buffer.size() as usize).sum()
    }
}

/// Bytes that are written at once.
const PIECE: usize = 16 << 20;

/// Writes a buffer from its start; copies go in words, so the last one may be padded. What the host holds of the bytes until they
/// are there is a few pieces at most.
///
/// # Errors
/// The host has no memory for a piece, or the device failed.
pub(crate) async fn write(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<(), BackendError> {
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        let whole = piece.len() / 4 * 4;
        let start = (number * PIECE) as u64;
        let write = || {
            gpu.queue.write_buffer(buffer, start, &piece[..whole]);
            if whole < piece.len() {
                let mut last = [0; 4];
                last[..piece.len() - whole].copy_from_slice(&piece[whole..]);
                gpu.queue.write_buffer(buffer, start + whole as u64, &last);
            }
        };
        gpu.scoped("what is written to the device", piece.len(), write).await?;
        gpu.written(piece.len()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WgpuBackend;
    use crate::gpu::MOST_PENDING;
    use crate::{edge, testing};
    use std::sync::atomic::Ordering;

    #[test]
    fn what_is_written_does_not_pile_up_on_the_host() {
        if testing::backend().is_none() {
            return;
        }
        let backend = WgpuBackend::private(|_| ());
        let gpu = &backend.shared().gpu;
        let pattern = |number: usize, length: usize| -> Vec<u8> {
            (0..length).map(|i| (i as u8).wrapping_mul(31) ^ (i >> 13) as u8 ^ number as u8).collect()
        };
        for (number, length) in [3 * PIECE + 7, PIECE, 17, PIECE + 4, 2 * PIECE - 1].into_iter().enumerate() {
            let tensor = Tensor::vector(pattern(number, length));
            let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
            let buffer = edge::wait(gpu.buffer("a test", length, usage)).expect("memory");
            edge::wait(write(gpu, &buffer, tensor.bytes())).expect("it is written");
            let pending = gpu.pending.load(Ordering::SeqCst);
            assert!(pending <= MOST_PENDING, "{pending} bytes wait after piece {number}");
            let (call, told) = crate::answer::answer();
            gpu.queue.submit([]);
            buffer.map_async(wgpu::MapMode::Read, .., call);
            edge::wait(gpu.told(told)).expect("told").expect("mapped");
            let same = buffer.get_mapped_range(..).expect("mapped")[..length] == *tensor.bytes();
            assert!(same, "{length} bytes");
        }
    }
}
