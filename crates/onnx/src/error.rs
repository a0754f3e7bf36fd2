//! Why a model or a value cannot be loaded.

use std::fmt;

use inferrum_graph::{GraphError, NodeError};
use inferrum_tensor::TensorError;

/// Why a file cannot be loaded, with the file's name.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {kind}")]
pub struct LoadError {
    /// The file, or `model` when it was given as bytes.
    pub file: String,
    /// What is wrong.
    pub kind: LoadErrorKind,
}

impl LoadError {
    pub(crate) fn new(file: impl fmt::Display, kind: impl Into<LoadErrorKind>) -> LoadError {
        LoadError { file: file.to_string(), kind: kind.into() }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The file is not the protobuf message that was expected.
    #[error("is no {message}, or is cut off ({reason}); check that it was written or downloaded completely")]
    Protobuf {
        /// Such as `ONNX model`.
        message: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The file only names where the real one is kept.
    #[error("is a Git LFS pointer, not the model; fetch the model with `git lfs pull`")]
    LfsPointer,
    /// The message has no graph.
    #[error("holds no graph, so it is no ONNX model")]
    NoGraph,
    /// The file format is newer than this engine.
    #[error(
        "has IR version {version}, but {newest} is the newest known; export it with an `ir_version` from 1 to {newest}"
    )]
    IrVersion {
        /// The model's.
        version: i64,
        /// The newest that is known.
        newest: i64,
    },
    /// An operator set is newer than this engine.
    #[error(
        "{owner}imports version {version} of operator set `{domain}`, but {newest} is the newest known; \
         export it with an opset from 1 to {newest} or convert it with `onnx.version_converter`"
    )]
    Opset {
        /// Empty for the model itself; such as ``function `f` `` with a space after it.
        owner: String,
        /// The domain; `ai.onnx` for ONNX's own.
        domain: String,
        /// The version that the model imports.
        version: i64,
        /// The newest that is known.
        newest: i64,
    },
    /// An operator set is imported in two versions.
    #[error("{owner}imports operator set `{domain}` twice, in versions {first} and {second}")]
    OpsetTwice {
        /// As in [`LoadErrorKind::Opset`].
        owner: String,
        /// The domain; `ai.onnx` for ONNX's own.
        domain: String,
        /// The first version.
        first: i64,
        /// The other version.
        second: i64,
    },
    /// Operators that do not exist here: all of them.
    #[error("uses operators that do not exist here: {}", list(.0))]
    UnknownOperators(Vec<UnknownOperator>),
    /// A stored tensor is unfit.
    #[error("{place}: {source}")]
    Tensor {
        /// Such as ``initializer `w` ``.
        place: String,
        /// What is wrong with it.
        source: TensorProtoError,
    },
    /// A declared type is unfit.
    #[error("the type of {place} is unfit: {reason}")]
    Type {
        /// Such as ``input `x` ``.
        place: String,
        /// What was expected and got.
        reason: String,
    },
    /// A name is defined twice.
    #[error("`{name}` is defined twice in graph `{graph}`, now by {by}; names of values must be unique")]
    DuplicateName {
        /// The name.
        name: String,
        /// The graph or function.
        graph: String,
        /// What defines it again, such as ``node `n` (Relu)``.
        by: String,
    },
    /// A function is defined twice.
    #[error("function `{0}` is defined twice; domain, name and overload together must be unique")]
    DuplicateFunction(String),
    /// A value has no name.
    #[error("{by} of graph `{graph}` has no name")]
    NoName {
        /// The graph or function.
        graph: String,
        /// Such as `an input`.
        by: String,
    },
    /// A value is used that nothing defines.
    #[error("{user} uses `{name}`, which no input, initializer or node defines")]
    Undefined {
        /// The name.
        name: String,
        /// Who uses it.
        user: String,
    },
    /// A node is malformed, whatever its operator.
    #[error("node `{node}` ({op}): {reason}")]
    Node {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// What was expected and got.
        reason: String,
    },
    /// A function calls itself.
    #[error("function `{0}` calls itself, directly or through others; ONNX forbids that")]
    RecursiveFunction(String),
    /// Bodies and functions are nested too deeply.
    #[error("bodies and functions are nested more than {limit} deep, at node `{node}`")]
    TooDeep {
        /// The deepest nesting that is accepted.
        limit: usize,
        /// The node that goes beyond.
        node: String,
    },
    /// Calls of functions unfold to too many nodes.
    #[error("its functions unfold to more than {limit} bytes of nodes, at the call `{node}`")]
    TooManyNodes {
        /// The most that are accepted.
        limit: usize,
        /// The call that goes beyond.
        node: String,
    },
    /// An operator cannot take its attributes.
    #[error(transparent)]
    Operator(NodeError),
    /// The graph is not well-formed, or an operator cannot take its inputs.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// An operator that does not exist here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOperator {
    /// Its domain; `ai.onnx` for ONNX's own.
    pub domain: String,
    /// Its type.
    pub op_type: String,
    /// The version of the domain that the model imports.
    pub opset: i64,
    /// How many nodes use it.
    pub nodes: usize,
    /// The first of them: its name, or that of its first output.
    pub first: String,
}

impl fmt::Display for UnknownOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownOperator { domain, op_type, opset, nodes, first } = self;
        let s = if *nodes == 1 { "" } else { "s" };
        write!(f, "{domain}.{op_type} (opset {opset}, {nodes} node{s}, first `{first}`)")
    }
}

fn list(operators: &[UnknownOperator]) -> String {
    let mut list = operators.iter().map(UnknownOperator::to_string).collect::<Vec<_>>().join(", ");
    if operators.iter().any(|operator| operator.domain == "com.microsoft.nchwc") {
        list += "; ONNX Runtime saved this model in the blocked layout of one kind of processor: \
                 save it again at optimisation level ORT_ENABLE_EXTENDED or below";
    }
    list
}

/// Why a stored tensor is unfit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProtoError {
    /// The element type is none, or none that is known.
    #[error("data type {0} of TensorProto is not supported")]
    DataType(i32),
    /// An extent is negative or beyond memory.
    #[error("extents must be 0 or more and fit into memory, got {0}")]
    Extent(i64),
    /// As many elements as the shape needs are not there.
    #[error("{dtype}[{shape}] needs {expected} {unit} in `{field}`, got {got}; the file may be cut off")]
    Length {
        /// The element type.
        dtype: inferrum_tensor::DType,
        /// The shape.
        shape: inferrum_tensor::Shape,
        /// The message's field.
        field: &'static str,
        /// What is counted.
        unit: &'static str,
        /// How many the shape needs.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A stored number does not fit the element type.
    #[error("{value} in `{field}` is no {dtype}")]
    Range {
        /// The number.
        value: i64,
        /// The message's field.
        field: &'static str,
        /// The element type.
        dtype: inferrum_tensor::DType,
    },
    /// A string is not UTF-8.
    #[error("string {0} is not UTF-8")]
    Utf8(usize),
    /// A sparse tensor's parts do not fit together.
    #[error("sparse tensor: {0}")]
    Sparse(String),
    /// Elements are kept in another file that cannot be used.
    #[error("external data: {0}")]
    External(String),
    /// The tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
