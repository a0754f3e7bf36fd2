//! What a graph becomes before it is optimised: types that the adapter cannot store become others, and images planar.

use inferrum_graph::{Graph, NodeError};

use crate::abilities::Abilities;
use crate::channels_first;

/// A graph as an adapter of these abilities takes it.
///
/// # Errors
/// An operator refuses its inputs.
pub(crate) fn legalize(graph: Graph, _abilities: &Abilities) -> Result<Graph, NodeError> {
    channels_first::run(inferrum_backend::widen(graph)?)
}
