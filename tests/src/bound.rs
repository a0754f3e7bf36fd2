//! The nodes of a model with the shapes that a run gives them, found without running it.

use std::collections::HashMap;

use inferrum_backend::BoundNode;
use inferrum_graph::{Fact, Facts, Graph, Inputs, Node, ValueId, evaluate};
use inferrum_tensor::Value;

/// Elements of values that are computed on the way at most: shapes and the like.
const FEW: usize = 4096;

/// How many nodes were met, and how many of them shapes were found for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// All nodes, those of bodies too.
    pub nodes: usize,
    /// Those whose shapes are all known.
    pub bound: usize,
}

/// Calls `visit` with each node whose shapes follow from those of the inputs, and from the elements of small ones. Shapes of
/// bodies follow from what these declare.
pub fn nodes(graph: &Graph, inputs: &[Value], visit: &mut dyn FnMut(&BoundNode<'_>)) -> Count {
    let mut walk = Walk { graph, facts: Vec::new(), known: HashMap::new(), count: Count::default() };
    walk.facts.extend(graph.values().iter().map(|value| value.fact.clone()));
    for (&id, value) in graph.inputs.iter().zip(inputs) {
        walk.facts[id.index()] = Fact::of(value);
        walk.learn(id, value);
    }
    for node in graph.nodes() {
        walk.node(node, visit);
    }
    walk.count
}

struct Walk<'a> {
    graph: &'a Graph,
    facts: Vec<Fact>,
    /// Elements that shapes may depend on.
    known: HashMap<ValueId, Value>,
    count: Count,
}

impl Walk<'_> {
    fn learn(&mut self, id: ValueId, value: &Value) {
        if value.as_tensor().is_some_and(|tensor| tensor.len() <= FEW) {
            self.known.insert(id, value.clone());
        }
    }

    fn node(&mut self, node: &Node, visit: &mut dyn FnMut(&BoundNode<'_>)) {
        self.count.nodes += 1;
        if let Some(control) = node.op.control() {
            for body in control.bodies() {
                let own = nodes(body, &[], visit);
                self.count.nodes += own.nodes;
                self.count.bound += own.bound;
            }
        }
        self.infer(node);
        self.fold(node);
        let fact = |id: &Option<ValueId>| id.map(|id| &self.facts[id.index()]);
        let bound = BoundNode {
            node,
            inputs: node.inputs.iter().map(fact).collect(),
            outputs: node.outputs.iter().map(fact).collect(),
        };
        let mut all = bound.inputs.iter().chain(&bound.outputs).flatten();
        if all.all(|fact| fact.concrete_shape().is_some()) {
            self.count.bound += 1;
            visit(&bound);
        }
    }

    /// What is known of the outputs; from the elements of inputs only where shapes ask for them.
    fn infer(&mut self, node: &Node) {
        let facts: Vec<Option<&Fact>> =
            node.inputs.iter().map(|id| id.map(|id| &self.facts[id.index()])).collect();
        let Ok(mut inferred) = node.op.infer(Facts(&facts)) else { return };
        if inferred.iter().any(|fact| fact.concrete_shape().is_none()) {
            let constant =
                |id: &Option<ValueId>| {
                    let id = (*id)?;
                    let tensor = self.known.get(&id).and_then(Value::as_tensor);
                    Some(tensor.map_or_else(
                        || self.facts[id.index()].clone(),
                        |tensor| Fact::constant(tensor.clone()),
                    ))
                };
            let facts: Vec<Option<Fact>> = node.inputs.iter().map(constant).collect();
            let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
            inferred = node.op.infer(Facts(&facts)).unwrap_or(inferred);
        }
        for (id, fact) in node.outputs.iter().zip(inferred) {
            if let Some(id) = id {
                self.facts[id.index()] = fact;
            }
        }
    }

    /// Computes integers of known operands.
    fn fold(&mut self, node: &Node) {
        let whole = |id: &Option<ValueId>| {
            id.is_none_or(|id| {
                let fact = &self.facts[id.index()];
                let integer = fact.as_tensor().is_some_and(|tensor| !tensor.dtype.is_float());
                integer && fact.concrete_shape().is_some_and(|shape| shape.elements() <= FEW)
            })
        };
        if !node.op.is_pure() || node.op.control().is_some() || !node.outputs.iter().all(whole) {
            return;
        }
        for id in node.outputs.iter().flatten() {
            if let Some(tensor) = self.facts[id.index()].value().cloned() {
                self.learn(*id, &Value::Tensor(tensor));
            }
        }
        let value = |id: &Option<ValueId>| match id {
            None => Some(None),
            Some(id) => {
                let constant = || self.graph.constant(*id).filter(|tensor| tensor.len() <= FEW).cloned();
                self.known.get(id).cloned().or_else(|| constant().map(Value::Tensor)).map(Some)
            }
        };
        let Some(values) = node.inputs.iter().map(value).collect::<Option<Vec<_>>>() else { return };
        let values: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
        let Ok(outputs) = evaluate(&*node.op, Inputs(&values)) else { return };
        for (id, value) in node.outputs.iter().zip(&outputs) {
            if let Some(id) = id {
                self.learn(*id, value);
            }
        }
    }
}
