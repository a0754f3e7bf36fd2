//! Part of a graph with every shape known.

use std::sync::Arc;

use inferrum_graph::{Fact, Graph, NodeId, ValueId};

use crate::BoundNode;

/// Nodes that one device runs as a whole. Every shape is concrete, every type is stored as bytes.
#[derive(Clone, Debug)]
pub struct Region {
    /// The graph that the ids refer to.
    pub graph: Arc<Graph>,
    /// The nodes, in topological order.
    pub nodes: Vec<NodeId>,
    /// What is known of each value of the graph, by [`ValueId::index`], once the shapes are bound.
    pub facts: Arc<Vec<Fact>>,
    /// Values that come from outside and are not constants.
    pub inputs: Vec<ValueId>,
    /// Values that are needed outside.
    pub outputs: Vec<ValueId>,
}

impl Region {
    /// A node of the region with its facts.
    pub fn bound(&self, id: NodeId) -> BoundNode<'_> {
        let node = &self.graph.nodes()[id.0];
        let fact = |value: &Option<ValueId>| value.map(|value| &self.facts[value.index()]);
        BoundNode {
            node,
            inputs: node.inputs.iter().map(fact).collect(),
            outputs: node.outputs.iter().map(fact).collect(),
        }
    }
}
