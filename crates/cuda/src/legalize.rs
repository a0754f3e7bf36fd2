//! What a graph becomes before it is optimised: images planar, and where no kernel takes floats of 16 bits, float32 between casts.

use inferrum_backend::{channels_first, tried, widen_unless};
use inferrum_graph::{Graph, NodeError};

use crate::abilities::Abilities;
use crate::lower::{KERNELS, lower};

/// A graph as a device of these abilities takes it.
///
/// # Errors
/// An operator refuses its inputs.
pub(crate) fn legalize(graph: Graph, abilities: &Abilities) -> Result<Graph, NodeError> {
    widen_unless(channels_first(graph)?, &|graph, node| {
        // Where nothing is known of the shapes, the run will tell.
        KERNELS.find(node.op.as_ref()).is_some()
            && tried(graph, node, |bound| lower(bound, abilities).is_ok()).unwrap_or(true)
    })
}
