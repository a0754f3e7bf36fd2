//! Tensors in a GPU's memory.

use std::sync::Arc;

use inferrum_backend::{BackendError, DeviceTensor};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::answer::{Answer, answer};
use crate::edge;
use crate::gpu::Gpu;
use crate::memory::Memory;
use crate::{storage, weights};

/// A tensor in a GPU's memory. Nothing writes there as long as it lives.
pub(crate) struct WgpuTensor {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
}

impl WgpuTensor {
    /// Bytes of its elements as they stand in the memory.
    fn bytes(&self) -> usize {
        self.shape.elements() * storage::element_bytes(self.dtype)
    }

    /// A copy of a tensor of a type that has a form here.
    ///
    /// # Errors
    /// No memory.
    pub(crate) async fn upload(gpu: &Arc<Gpu>, tensor: &Tensor) -> Result<WgpuTensor, BackendError> {
        let wide = storage::widened(tensor).map_err(|error| BackendError::Device(error.to_string()))?;
        let bytes = wide.as_deref().map_or(tensor.bytes(), bytemuck::cast_slice);
        let memory = Memory::take(gpu, bytes.len()).await?;
        weights::write(gpu, memory.buffer(), bytes).await?;
        let (dtype, shape) = (tensor.dtype(), tensor.shape().clone());
        Ok(WgpuTensor { gpu: Arc::clone(gpu), memory: Arc::new(memory), dtype, shape })
    }

    async fn read(&self) -> Result<Tensor, BackendError> {
        self.gpu.check()?;
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let to = self.gpu.buffer("a tensor on its way to the host", self.bytes(), usage).await?;
        let staged = Staged::copy(&mut encoder, self.memory.buffer(), to, self.bytes());
        self.gpu.queue.submit([encoder.finish()]);
        let arriving = staged.map();
        arriving.read(&self.gpu, self.dtype, &self.shape).await
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
        &self.gpu.id
    }

    fn read(&self) -> Result<Tensor, BackendError> {
        edge::wait(WgpuTensor::read(self))
    }
}

/// Elements whose copy for the host is recorded.
pub(crate) struct Staged {
    buffer: wgpu::Buffer,
    bytes: usize,
}

/// Elements on their way to the host.
pub(crate) struct Arriving {
    staged: Staged,
    mapped: Answer<Result<(), wgpu::BufferAsyncError>>,
}

impl Staged {
    /// Records the copy of a buffer's first `bytes` to a buffer that the host can read.
    pub(crate) fn copy(
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Buffer,
        to: wgpu::Buffer,
        bytes: usize,
    ) -> Staged {
        if bytes > 0 {
            encoder.copy_buffer_to_buffer(from, 0, &to, 0, (bytes as u64).next_multiple_of(4));
        }
        Staged { buffer: to, bytes }
    }

    /// Asks for the elements, once the copy is submitted.
    pub(crate) fn map(self) -> Arriving {
        let (call, mapped) = answer();
        self.buffer.map_async(wgpu::MapMode::Read, .., call);
        Arriving { staged: self, mapped }
    }
}

impl Arriving {
    /// The elements, when they are there.
    ///
    /// # Errors
    /// The device failed, or the host has no memory.
    pub(crate) async fn read(self, gpu: &Gpu, dtype: DType, shape: &Shape) -> Result<Tensor, BackendError> {
        let Staged { buffer, bytes } = self.staged;
        let error = |error: &dyn std::fmt::Display| {
            gpu.explained(BackendError::Device(format!("a tensor cannot be read back: {error}")))
        };
        gpu.told(self.mapped).await?.map_err(|e| error(&e))?;
        let view = buffer.get_mapped_range(..).map_err(|e| error(&e))?;
        let tensor = storage::narrowed(dtype, shape, &view[..bytes]).map_err(|e| error(&e));
        drop(view);
        buffer.unmap();
        tensor
    }
}
