//! Runs trained models fast, correctly and honestly on whatever hardware is there.
//!
//! [`Session`] loads a model and runs it; [`Tensor`] holds what goes in and comes out; [`Bindings`] lets outputs be
//! written to memory of the caller's; [`RunOptions`] carries a deadline, a way to cancel, and a profile;
//! [`devices`] tells what there is to run on.
//!
//! Features: `image` (module `image`: pictures as inputs), `ndarray` (module `ndarray`: arrays from and to tensors).

pub mod agreement;
mod bindings;
mod device_tensor;
mod devices;
mod error;
#[cfg(feature = "image")]
pub mod image;
mod inputs;
mod memory;
#[cfg(feature = "ndarray")]
pub mod ndarray;
mod program;
mod reference;
mod session;
mod value_info;

pub use bindings::{Bindings, OutputBuffer};
pub use device_tensor::DeviceTensor;
pub use devices::devices;
pub use error::Error;
pub use inferrum_backend::{
    Crossing, Device, DeviceFailure, DeviceInfo, NodePlacement, Placement, Precision, Profile, Span, Stop,
    Transfer, TransferLog, Transfers,
};
pub use inferrum_graph as graph;
pub use inferrum_onnx as onnx;
pub use inferrum_tensor::{
    AlignedBytes, DType, Element, MapKeys, Shape, Tensor, TensorError, Value, bf16, f16,
};
pub use inputs::{Input, Inputs, Outputs};
pub use memory::machine_limit;
pub use program::{Plan, PlannedBody, PlannedNode};
pub use reference::interpret_f64;
pub use session::{RunOptions, Session, SessionBuilder};
pub use value_info::ValueInfo;

/// Compiles and runs the examples of `README.md`.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct ReadMe;
