//! How an output of a run gets to the caller.

use inferrum_backend::{Destination, Resident};
use inferrum_graph::Fact;
use inferrum_tensor::{Shape, Tensor, Value};

use crate::Error;
use crate::bindings::OutputBuffer;

/// How an output is wanted.
#[derive(Default)]
pub(crate) enum Delivery<'a> {
    /// As a value of its own.
    #[default]
    Value,
    /// As a value; a tensor may be written to this one's memory.
    Reuse(Tensor),
    /// In the caller's buffer for the output of this name.
    Buffer(&'a str, OutputBuffer<'a>),
    /// Where the device computes it.
    Stay,
    /// It is in the caller's buffer already.
    Done(Shape),
}

/// An output that a run delivered.
pub(crate) enum Delivered {
    /// As a value of its own.
    Value(Value),
    /// In the caller's buffer, under this shape.
    Written(Shape),
    /// Where the device has computed it.
    Kept(Resident),
}

impl<'a> Delivery<'a> {
    /// Where a region of the backend puts this output, which becomes a tensor like `fact`. What it gets for a buffer
    /// counts as delivered.
    ///
    /// # Errors
    /// The caller's buffer does not fit.
    pub(crate) fn destination(&mut self, fact: &Fact) -> Result<Destination<'a>, Error> {
        if matches!(self, Delivery::Stay) {
            return Ok(Destination::Stay);
        }
        let (Some(tensor), Some(shape)) = (fact.as_tensor(), fact.concrete_shape()) else {
            return Ok(Destination::Fresh);
        };
        match std::mem::take(self) {
            Delivery::Reuse(tensor) => Ok(Destination::Reuse(tensor)),
            Delivery::Buffer(name, buffer) => {
                buffer.check(name, tensor.dtype, &shape)?;
                match buffer.into_bytes(&shape) {
                    Ok(bytes) => {
                        *self = Delivery::Done(shape);
                        Ok(Destination::Caller(bytes))
                    }
                    Err(buffer) => {
                        *self = Delivery::Buffer(name, buffer);
                        Ok(Destination::Fresh)
                    }
                }
            }
            other => {
                *self = other;
                Ok(Destination::Fresh)
            }
        }
    }

    /// Delivers an output; `value` gives it on the host where it is not delivered yet.
    ///
    /// # Errors
    /// The caller's buffer does not fit, or the value is not there, or is no tensor and should stay on the device.
    pub(crate) fn finish(self, value: impl FnOnce() -> Result<Value, Error>) -> Result<Delivered, Error> {
        match self {
            Delivery::Stay => match value()? {
                Value::Tensor(tensor) => Ok(Delivered::Kept(Resident::Host(tensor))),
                other => {
                    Err(Error::Unsupported(format!("{} stays on no device; tensors do", other.describe())))
                }
            },
            Delivery::Done(shape) => Ok(Delivered::Written(shape)),
            Delivery::Buffer(name, buffer) => buffer.fill(name, &value()?).map(Delivered::Written),
            Delivery::Value | Delivery::Reuse(_) => value().map(Delivered::Value),
        }
    }
}

impl Delivered {
    /// The value, if it was wanted as one.
    pub(crate) fn into_value(self) -> Option<Value> {
        match self {
            Delivered::Value(value) => Some(value),
            Delivered::Written(_) | Delivered::Kept(_) => None,
        }
    }
}
