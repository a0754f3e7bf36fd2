//! Reads ONNX files into Inferrum graphs.
//!
//! [`load`] gives a [`Model`]: one canonical [`inferrum_graph::Graph`], with functions unfolded, `Constant` nodes and
//! initializers as constants that share the mapped file's memory, and bodies (`If`, `Loop`, `Scan`) whose captures are
//! explicit inputs. [`summary()`] tells what a file holds, also where it cannot be loaded. [`value`] reads and writes
//! the values of ONNX's test cases, [`Case`] reads a folder of them.

#![deny(clippy::as_conversions, unsafe_code)]

mod attribute;
mod build;
mod capture;
mod case;
mod constant;
mod error;
mod external;
mod mmap;
mod model;
mod place;
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::as_conversions)]
mod proto;
mod scope;
mod section;
mod summary;
mod tensor;
mod types;
mod typing;
mod unfold;
pub mod value;
mod versions;

pub use case::{Case, CaseError, Expectation, Set};
pub use error::{LoadError, LoadErrorKind, TensorProtoError, UnknownOperator};
pub use model::{Model, ModelInfo, Options, load, load_bytes, load_bytes_with, load_with};
pub use summary::{OperatorUse, Summary, summary, summary_bytes};
