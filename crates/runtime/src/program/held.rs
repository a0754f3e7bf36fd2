//! A value of a run, where it is.

use std::sync::{Arc, OnceLock};

use inferrum_backend::{DeviceTensor, Resident};
use inferrum_graph::Fact;
use inferrum_tensor::Value;

/// A value of a run, where it is so far: in the host's memory, the device's, or both.
#[derive(Clone, Default)]
pub(super) struct Held {
    pub(super) host: Option<Value>,
    pub(super) device: Option<Arc<dyn DeviceTensor>>,
    /// Copies for several calls of a body: who makes one leaves it to the next.
    pub(super) copies: Option<Arc<Copies>>,
}

/// A value where it was not at first.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) host: OnceLock<Value>,
    pub(super) device: OnceLock<Arc<dyn DeviceTensor>>,
}

impl Held {
    /// Lets clones share the copies that are made of any of them.
    pub(super) fn share(&mut self) {
        self.copies.get_or_insert_default();
    }

    /// Whether it is nowhere.
    pub(super) fn is_nowhere(&self) -> bool {
        self.host.is_none() && self.device.is_none()
    }

    /// Type and shape.
    pub(super) fn fact(&self) -> Fact {
        match (&self.host, &self.device) {
            (Some(value), _) => Fact::of(value),
            (None, Some(tensor)) => Fact::tensor(tensor.dtype(), tensor.shape()),
            (None, None) => Fact::Unknown,
        }
    }
}

impl From<Value> for Held {
    fn from(value: Value) -> Held {
        Held { host: Some(value), ..Held::default() }
    }
}

impl From<Resident> for Held {
    fn from(tensor: Resident) -> Held {
        match tensor {
            Resident::Host(tensor) => Value::Tensor(tensor).into(),
            Resident::Device(tensor) => Held { device: Some(tensor), ..Held::default() },
        }
    }
}
