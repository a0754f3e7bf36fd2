//! Part of a graph with every shape known.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Graph, Node, NodeId, ValueId};

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

/// A node whose inputs and outputs have concrete shapes.
#[derive(Clone, Debug)]
pub struct BoundNode<'a> {
    /// The node.
    pub node: &'a Node,
    /// Facts of the inputs; `None` is an optional input left out.
    pub inputs: Vec<Option<&'a Fact>>,
    /// Facts of the outputs; `None` is an output that nobody needs.
    pub outputs: Vec<Option<&'a Fact>>,
}

impl BoundNode<'_> {
    /// Arithmetic operations of one run.
    pub fn flops(&self) -> u64 {
        let outputs: Vec<Fact> = self.outputs.iter().flatten().map(|&fact| fact.clone()).collect();
        self.node.op.flops(Facts(&self.inputs), &outputs)
    }

    /// Bytes of all inputs and outputs.
    pub fn bytes(&self) -> u64 {
        self.inputs
            .iter()
            .chain(&self.outputs)
            .flatten()
            .fold(0, |sum, fact| sum.saturating_add(fact_bytes(fact) as u64))
    }
}

/// Bytes of a tensor of concrete shape; 0 for anything else.
fn fact_bytes(fact: &Fact) -> usize {
    fact.as_tensor()
        .zip(fact.concrete_shape())
        .map_or(0, |(tensor, shape)| shape.elements().saturating_mul(tensor.dtype.size()))
}
