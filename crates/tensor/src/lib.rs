//! Element types, shapes and host tensors of Inferrum.
//!
//! A [`Tensor`] is dense, row-major and immutable; clones share their bytes. [`Value`] is what an operator takes and
//! gives: a tensor, or one of ONNX's containers.

mod alloc;
mod dtype;
mod element;
mod float8;
mod shape;
mod tensor;
mod value;

pub use alloc::{AlignedBytes, AllocationLimit, collected, filled, zeroed};
pub use dtype::DType;
pub use element::{Element, F4E2M1, I2, I4, Real, U2, U4};
pub use float8::{F8E4M3Fn, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz, F8E8M0, ScaleRounding};
pub use half::{bf16, f16};
pub use shape::Shape;
pub use tensor::{Pages, Tensor, TensorError};
pub use value::{MapKeys, Value};
