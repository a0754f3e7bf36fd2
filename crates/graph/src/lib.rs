//! The typed operator graph of Inferrum.
//!
//! A [`Graph`] is in SSA form: each value is a graph input, a constant, or the output of one [`Node`]. A node's
//! [`Operator`] is canonical: import lifted it from its opset version, so nothing downstream asks for one.

mod attrs;
mod display;
mod error;
mod fact;
mod graph;
mod interpret;
mod operator;
mod symbolic;

pub use attrs::{Attr, NodeDef};
pub use error::{NodeError, OpError};
pub use fact::{Fact, Facts, TensorFact};
pub use graph::{Graph, GraphError, Node, NodeId, ValueDef, ValueId};
pub use interpret::{evaluate, interpret, run_reference};
pub use operator::{CallBody, Control, Inputs, OpKey, Operator};
pub use symbolic::{ShapeFact, SymDim};
