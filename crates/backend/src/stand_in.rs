//! Whether a device will run a node, asked before every shape is known.

use inferrum_graph::{Fact, Facts, Graph, Node, ShapeFact, SymDim, ValueId};

use crate::BoundNode;

/// What an open extent counts as while it is not known.
const STAND_IN: usize = 16;

/// What `asked` says of the node under shapes that it may have in a run; None where nothing is known of them.
pub fn tried(graph: &Graph, node: &Node, asked: impl FnOnce(&BoundNode<'_>) -> bool) -> Option<bool> {
    tried_with(node, |id| graph.fact(id).clone(), asked)
}

/// As [`tried`], where `fact` says what is known of the inputs.
pub(crate) fn tried_with(
    node: &Node,
    fact: impl Fn(ValueId) -> Fact,
    asked: impl FnOnce(&BoundNode<'_>) -> bool,
) -> Option<bool> {
    let concrete = |fact: &Fact| {
        let tensor = fact.as_tensor()?;
        match tensor.value {
            Some(_) => Some(fact.clone()),
            None => Some(Fact::tensor(tensor.dtype, stand_in(&tensor.shape)?)),
        }
    };
    let inputs = node.inputs.iter().map(|id| match id {
        None => Some(None),
        Some(id) => concrete(&fact(*id)).map(Some),
    });
    let inputs: Vec<Option<Fact>> = inputs.collect::<Option<_>>()?;
    let inputs: Vec<Option<&Fact>> = inputs.iter().map(Option::as_ref).collect();
    let outputs = node.op.infer(Facts(&inputs)).ok()?;
    if outputs.len() < node.outputs.len() || outputs.iter().any(|fact| fact.concrete_shape().is_none()) {
        return None;
    }
    let outputs = node.outputs.iter().zip(&outputs).map(|(id, fact)| id.map(|_| fact)).collect();
    Some(asked(&BoundNode { node, inputs, outputs }))
}

fn stand_in(shape: &ShapeFact) -> Option<ShapeFact> {
    let extent = |dim: &SymDim| match dim {
        SymDim::Unknown | SymDim::Symbol(_) => SymDim::Known(STAND_IN),
        SymDim::Known(_) => dim.clone(),
    };
    Some(shape.dims()?.iter().map(extent).collect())
}
