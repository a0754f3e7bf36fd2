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
        write(gpu, &buffer, bytes);
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

/// Writes a buffer from its start; copies go in words, so the last one may be padded.
pub(crate) fn write(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: &[u8]) {
    let whole = bytes.len() / 4 * 4;
    gpu.queue.write_buffer(buffer, 0, &bytes[..whole]);
    if whole < bytes.len() {
        let mut last = [0; 4];
        last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
        gpu.queue.write_buffer(buffer, whole as u64, &last);
    }
}
