//! Tensors in a GPU's memory.

use std::sync::Arc;

use inferrum_backend::{BackendError, DeviceTensor};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::gpu::Gpu;
use crate::storage;

/// A tensor in a GPU's memory.
pub(crate) struct WgpuTensor {
    pub(crate) gpu: Arc<Gpu>,
    /// The id of the device.
    pub(crate) device: Arc<str>,
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
}

impl WgpuTensor {
    /// Bytes of its elements as they stand in the buffer.
    pub(crate) fn bytes(&self) -> usize {
        self.shape.elements() * storage::element_bytes(self.dtype)
    }
}

impl DeviceTensor for WgpuTensor {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn read(&self) -> Result<Tensor, BackendError> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let staged = Staged::copy(&self.gpu, &mut encoder, &self.buffer, self.bytes())?;
        self.gpu.queue.submit([encoder.finish()]);
        staged.map();
        self.gpu.wait()?;
        staged.read(self.dtype, &self.shape)
    }
}

/// Elements on their way to the host.
pub(crate) struct Staged {
    buffer: wgpu::Buffer,
    bytes: usize,
    failed: Arc<std::sync::Mutex<Option<String>>>,
}

impl Staged {
    /// Records the copy of a buffer's first `bytes`.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn copy(
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Buffer,
        bytes: usize,
    ) -> Result<Staged, BackendError> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let buffer = gpu.buffer("an output on its way to the host", bytes, usage)?;
        if bytes > 0 {
            encoder.copy_buffer_to_buffer(from, 0, &buffer, 0, (bytes as u64).next_multiple_of(4));
        }
        Ok(Staged { buffer, bytes, failed: Arc::default() })
    }

    /// Asks for the elements; they are there when [`Gpu::wait`] returns.
    pub(crate) fn map(&self) {
        let failed = Arc::clone(&self.failed);
        self.buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            if let Err(error) = result {
                *failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error.to_string());
            }
        });
    }

    /// The elements.
    ///
    /// # Errors
    /// The copy failed, or the host has no memory.
    pub(crate) fn read(&self, dtype: DType, shape: &Shape) -> Result<Tensor, BackendError> {
        let failed = self.failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(error) = failed {
            return Err(BackendError::Device(format!("an output cannot be read back: {error}")));
        }
        let error = |error: &dyn std::fmt::Display| {
            BackendError::Device(format!("an output cannot be read back: {error}"))
        };
        let view = self.buffer.get_mapped_range(..).map_err(|e| error(&e))?;
        let tensor = storage::narrowed(dtype, shape, &view[..self.bytes]).map_err(|e| error(&e));
        drop(view);
        self.buffer.unmap();
        tensor
    }
}
