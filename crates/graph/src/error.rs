//! Errors of operators and nodes.

use inferrum_tensor::{DType, TensorError};

/// Why an operator cannot be parsed, typed or run. The caller adds node, operator and input types ([`NodeError`]).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// A required input is left out.
    #[error("input {index} is required but missing")]
    MissingInput {
        /// Position of the input.
        index: usize,
    },
    /// An input is not the kind of value that is needed.
    #[error("input {index} must be {expected}, got {got}")]
    Kind {
        /// Position of the input.
        index: usize,
        /// Such as `a tensor`.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// An input has the wrong element type.
    #[error("input {index} must be of {expected}, got {got}")]
    DType {
        /// Position of the input.
        index: usize,
        /// Such as `float32 or float16`.
        expected: String,
        /// What was given.
        got: DType,
    },
    /// An input has the wrong shape.
    #[error("input {index} must have shape {expected}, got {got}")]
    Shape {
        /// Position of the input.
        index: usize,
        /// Such as `[N, C, H, W]`.
        expected: String,
        /// What was given.
        got: String,
    },
    /// An input holds values that the operator cannot take.
    #[error("input {index}: {reason}")]
    Value {
        /// Position of the input.
        index: usize,
        /// What was expected and got.
        reason: String,
    },
    /// An attribute is missing or unfit.
    #[error("attribute `{name}`: expected {expected}, got {got}")]
    Attribute {
        /// Its name.
        name: String,
        /// What is needed.
        expected: String,
        /// What was given; `nothing` when it is missing.
        got: String,
    },
    /// The operator has no such attribute.
    #[error("unknown attribute {}", .0.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))]
    UnknownAttributes(Vec<String>),
    /// The operator is defined so, but Inferrum does not do it.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// Several inputs, or inputs and attributes, do not fit together.
    #[error("{0}")]
    Invalid(String),
    /// A tensor could not be made or read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A node of a body (`If`, `Loop`, `Scan`...) failed.
    #[error("in its body, {0}")]
    Body(Box<NodeError>),
    /// The caller asked to stop.
    #[error("the run was stopped: {0}")]
    Stopped(&'static str),
}

impl OpError {
    /// An attribute that is missing or unfit.
    pub fn attribute(name: &str, expected: impl Into<String>, got: impl std::fmt::Display) -> OpError {
        OpError::Attribute { name: name.into(), expected: expected.into(), got: got.to_string() }
    }

    /// An input of the wrong shape.
    pub fn shape(index: usize, expected: impl Into<String>, got: impl std::fmt::Display) -> OpError {
        OpError::Shape { index, expected: expected.into(), got: got.to_string() }
    }

    /// An input of the wrong element type.
    pub fn dtype(index: usize, expected: impl Into<String>, got: DType) -> OpError {
        OpError::DType { index, expected: expected.into(), got }
    }

    /// An input with unfit elements.
    pub fn value(index: usize, reason: impl Into<String>) -> OpError {
        OpError::Value { index, reason: reason.into() }
    }
}

impl From<NodeError> for OpError {
    fn from(error: NodeError) -> OpError {
        OpError::Body(Box::new(error))
    }
}

/// An operator's error with its place in the model.
#[derive(Debug, Clone, thiserror::Error)]
#[error("node `{node}` ({op}, inputs {inputs}): {source}")]
pub struct NodeError {
    /// The node's name.
    pub node: String,
    /// The operator, with its domain where that is not ONNX's own.
    pub op: String,
    /// Types and shapes of the inputs.
    pub inputs: String,
    /// What went wrong.
    pub source: OpError,
}
