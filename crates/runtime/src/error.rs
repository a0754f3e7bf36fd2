//! Errors of the library.

use inferrum_backend::{BackendError, DeviceFailure, NodePlacement};
use inferrum_graph::{GraphError, NodeError};
use inferrum_onnx::LoadError;
use inferrum_tensor::TensorError;

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is no model that Inferrum can run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The graph is not well-formed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A node refuses its inputs, or fails.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// An input does not fit the model.
    #[error("input `{name}`: expected {expected}, got {got}")]
    Input {
        /// The input's name.
        name: String,
        /// What the model takes.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A buffer that is bound to an output does not fit it.
    #[error("output `{name}`: expected {expected}, got {got}")]
    Output {
        /// The output's name.
        name: String,
        /// What the output needs.
        expected: String,
        /// What was bound to it.
        got: String,
    },
    /// Inputs are missing.
    #[error("missing input{} {}; the model takes {takes}", if .names.len() == 1 { "" } else { "s" }, .names.join(", "))]
    MissingInputs {
        /// The missing inputs.
        names: Vec<String>,
        /// Every input, for the message.
        takes: String,
    },
    /// The model has no input or output of this name.
    #[error("the model has no {kind} `{name}`; it has {known}")]
    UnknownName {
        /// `input` or `output`.
        kind: &'static str,
        /// The unknown name.
        name: String,
        /// The names it has.
        known: String,
    },
    /// The device cannot be used.
    #[error("device `{device}` cannot be used: {reason}")]
    Device {
        /// The device as it was named.
        device: String,
        /// What is missing, and what to do.
        reason: String,
    },
    /// The device declines nodes, and the session is strict.
    #[error("{}", declined(device, nodes))]
    Declined {
        /// The device's id.
        device: String,
        /// The nodes, each with the reason.
        nodes: Vec<NodePlacement>,
    },
    /// Something is defined, but not done.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The memory, or the limit set for it, is too small.
    #[error(
        "out of memory: {what} would take {needed} bytes, the limit is {limit}; raise max_memory or use smaller inputs"
    )]
    OutOfMemory {
        /// What the memory is for.
        what: String,
        /// How much it takes.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// The device fails.
    #[error(transparent)]
    DeviceFailure(#[from] DeviceFailure),
    /// The run was cancelled, or its deadline passed.
    #[error("the run was stopped: {0}")]
    Stopped(&'static str),
    /// A tensor could not be made or read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A backend failed.
    #[error("{0}")]
    Backend(String),
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Error {
        match error {
            BackendError::Node(error) => Error::Node(error),
            BackendError::OutOfMemory { what, needed, available } => {
                Error::OutOfMemory { what, needed, limit: available }
            }
            BackendError::Failure(failure) => Error::DeviceFailure(failure),
            BackendError::Stopped(why) => Error::Stopped(why),
            other => Error::Backend(other.to_string()),
        }
    }
}

/// Each operator with its reason once, and an example of a node.
fn declined(device: &str, nodes: &[NodePlacement]) -> String {
    let mut lines: Vec<(String, String, usize)> = Vec::new();
    for node in nodes {
        let why = format!("{}: {}", node.op, node.reason.as_deref().unwrap_or_default());
        match lines.iter_mut().find(|(line, ..)| *line == why) {
            Some((_, _, count)) => *count += 1,
            None => lines.push((why, node.node.clone(), 1)),
        }
    }
    let listed = lines.into_iter().map(|(why, node, count)| match count {
        1 => format!("\n  {why} (`{node}`)"),
        _ => format!("\n  {why} (`{node}` and {} more)", count - 1),
    });
    format!(
        "{device} declines {} nodes, and the session is strict; without that the processor runs them:{}",
        nodes.len(),
        listed.collect::<String>()
    )
}
