//! Who gives and who takes each value, as it stands when a pass begins.

use std::any::Any;

use inferrum_graph::{Graph, Node, NodeId, Operator, ValueId};

/// Producers and consumers of a graph's values.
#[derive(Debug)]
pub struct Index {
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
}

impl Index {
    /// The index of `graph`. Values that are added later are unknown to it.
    pub fn new(graph: &Graph) -> Index {
        let mut is_output = vec![false; graph.values().len()];
        for id in &graph.outputs {
            is_output[id.index()] = true;
        }
        Index { producers: graph.producers(), consumers: graph.consumers(), is_output }
    }

    /// The node that gives `value`.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.producers.get(value.index()).copied().flatten()
    }

    /// The node that gives `value`, if its operator is a `T`.
    pub fn producer_of<'g, T: Operator>(
        &self,
        graph: &'g Graph,
        value: ValueId,
    ) -> Option<(NodeId, &'g Node, &'g T)> {
        let id = self.producer(value)?;
        let node = &graph.nodes()[id.0];
        operator::<T>(node).map(|op| (id, node, op))
    }

    /// The nodes that take `value`.
    pub fn consumers(&self, value: ValueId) -> &[NodeId] {
        self.consumers.get(value.index()).map_or(&[], Vec::as_slice)
    }

    /// Whether `value` is an output of the graph.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.is_output.get(value.index()).copied().unwrap_or(false)
    }

    /// The one node that takes `value`, if it is taken once and is no output of the graph.
    pub fn sole_consumer(&self, value: ValueId) -> Option<NodeId> {
        match self.consumers(value) {
            &[id] if !self.is_output(value) => Some(id),
            _ => None,
        }
    }
}

/// A node's operator, if it is a `T`.
pub(crate) fn operator<T: Operator>(node: &Node) -> Option<&T> {
    (node.op.as_ref() as &dyn Any).downcast_ref()
}
