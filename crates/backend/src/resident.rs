//! Tensors where they are: in the host's memory or a device's.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use inferrum_tensor::{DType, Shape, Tensor};

use crate::BackendError;

/// A tensor in a device's memory.
pub trait DeviceTensor: Any + Send + Sync {
    /// Element type.
    fn dtype(&self) -> DType;

    /// Shape.
    fn shape(&self) -> &Shape;

    /// The id of the device that holds it.
    fn device(&self) -> &str;

    /// Its elements, copied to the host; waits for what computes them.
    ///
    /// # Errors
    /// The device fails, or the host has no memory for them.
    fn read(&self) -> Result<Tensor, BackendError>;
}

/// A tensor where it is.
#[derive(Clone)]
pub enum Resident {
    /// In the host's memory.
    Host(Tensor),
    /// In a device's memory.
    Device(Arc<dyn DeviceTensor>),
}

impl Resident {
    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Resident::Host(tensor) => tensor.dtype(),
            Resident::Device(tensor) => tensor.dtype(),
        }
    }

    /// Shape.
    pub fn shape(&self) -> &Shape {
        match self {
            Resident::Host(tensor) => tensor.shape(),
            Resident::Device(tensor) => tensor.shape(),
        }
    }

    /// The tensor in the host's memory, copied there if it is elsewhere.
    ///
    /// # Errors
    /// As [`DeviceTensor::read`].
    pub fn to_host(&self) -> Result<Tensor, BackendError> {
        match self {
            Resident::Host(tensor) => Ok(tensor.clone()),
            Resident::Device(tensor) => tensor.read(),
        }
    }

    /// The tensor as `device` holds it, if it does and is a `T`.
    pub fn on<T: DeviceTensor>(&self, device: &str) -> Option<&T> {
        match self {
            Resident::Device(tensor) if tensor.device() == device => {
                (&**tensor as &dyn Any).downcast_ref::<T>()
            }
            _ => None,
        }
    }
}

impl From<Tensor> for Resident {
    fn from(tensor: Tensor) -> Resident {
        Resident::Host(tensor)
    }
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self {
            Resident::Host(_) => "host",
            Resident::Device(tensor) => tensor.device(),
        };
        write!(f, "{}[{}] on {place}", self.dtype(), self.shape())
    }
}
