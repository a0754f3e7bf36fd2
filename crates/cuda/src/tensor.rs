//! Tensors in a GPU's memory.

use std::sync::Arc;

use inferrum_backend::{BackendError, DeviceTensor};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::driver::Driver;
use crate::memory::Memory;
use crate::transfer;

/// A tensor in a GPU's memory. Nothing writes there as long as it lives.
pub(crate) struct CudaTensor {
    pub(crate) driver: Arc<dyn Driver>,
    /// The device's id.
    pub(crate) device: String,
    pub(crate) memory: Arc<Memory>,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
}

impl CudaTensor {
    /// A copy of a tensor.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn upload(
        driver: &Arc<dyn Driver>,
        device: &str,
        tensor: &Tensor,
    ) -> Result<CudaTensor, BackendError> {
        let memory = Arc::new(Memory::take(driver, tensor.bytes().len())?);
        transfer::upload(driver, memory.address(), tensor.bytes())?;
        let (dtype, shape) = (tensor.dtype(), tensor.shape().clone());
        Ok(CudaTensor { driver: Arc::clone(driver), device: device.to_owned(), memory, dtype, shape })
    }
}

impl DeviceTensor for CudaTensor {
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
        transfer::download(&self.driver, self.memory.address(), self.dtype, &self.shape)
    }
}
