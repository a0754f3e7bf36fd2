//! What a graph becomes before it is optimised: types that the adapter cannot store become others.

use inferrum_graph::{Graph, NodeError};

use crate::abilities::Abilities;

/// A graph as an adapter of these abilities takes it.
///
/// # Errors
/// An operator refuses its inputs.
pub(crate) fn legalize(graph: Graph, _abilities: &Abilities) -> Result<Graph, NodeError> {
    inferrum_backend::widen(graph)
}
