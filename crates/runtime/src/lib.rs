//! Runs trained models fast, correctly and honestly on whatever hardware is there.

pub mod agreement;
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

pub use devices::devices;
pub use error::Error;
pub use inferrum_backend::{Device, DeviceInfo, NodePlacement, Placement, Profile, Span, Stop};
pub use inferrum_graph as graph;
pub use inferrum_onnx as onnx;
pub use inferrum_tensor::{DType, Element, MapKeys, Shape, Tensor, TensorError, Value, bf16, f16};
pub use inputs::{Inputs, Outputs};
pub use memory::machine_limit;
pub use program::{Plan, PlannedNode};
pub use reference::interpret_f64;
pub use session::{Precision, RunOptions, Session, SessionBuilder, ValueInfo};

/// Compiles and runs the examples of `README.md`.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct ReadMe;
