//! Tensors that stay where a device computed them.

use std::fmt;
use std::sync::Arc;

use inferrum_backend::Resident;
use inferrum_tensor::{DType, Shape, Tensor};

use crate::Error;

/// A tensor in a device's memory: an output that stayed there ([`crate::Bindings::staying`]), to be an input of later runs
/// ([`crate::Inputs`]) or read by the host. Its elements never change; clones share them.
///
/// A session takes what its own device holds as it is. What another device holds goes through the host's memory, and the
/// run's transfers tell so. On the processor all this holds as well; there the memory is the host's.
#[derive(Clone)]
pub struct DeviceTensor(pub(crate) Resident);

impl DeviceTensor {
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype()
    }

    /// Shape.
    pub fn shape(&self) -> &Shape {
        self.0.shape()
    }

    /// The id of the device that holds it: `cpu` for the host's memory.
    pub fn device(&self) -> &str {
        match &self.0 {
            Resident::Host(_) => "cpu",
            Resident::Device(tensor) => tensor.device(),
        }
    }

    /// Its elements in the host's memory; waits for what computes them. Shares them if they are there already.
    ///
    /// # Errors
    /// The device fails ([`Error::DeviceFailure`]), or the host has no memory for them.
    pub fn to_host(&self) -> Result<Tensor, Error> {
        Ok(self.0.to_host()?)
    }

    /// Whether both are the same memory under the same shape.
    pub fn is_same(&self, other: &DeviceTensor) -> bool {
        match (&self.0, &other.0) {
            (Resident::Host(one), Resident::Host(other)) => {
                one.shape() == other.shape() && std::ptr::eq(one.bytes(), other.bytes())
            }
            (Resident::Device(one), Resident::Device(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl From<Tensor> for DeviceTensor {
    fn from(tensor: Tensor) -> DeviceTensor {
        DeviceTensor(Resident::Host(tensor))
    }
}

impl fmt::Debug for DeviceTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] on {}", self.dtype(), self.shape(), self.device())
    }
}
