//! Runs a graph by its operators' references: the oracle of every backend.

use inferrum_tensor::{Tensor, Value};

use crate::{Fact, Graph, Inputs, Node, NodeError, OpError, Operator};

/// The outputs of `graph` for `inputs`, which stand in the order of [`Graph::inputs`].
///
/// # Errors
/// A node fails; an input is missing.
pub fn interpret(graph: &Graph, inputs: Vec<Value>) -> Result<Vec<Value>, NodeError> {
    let mut values: Vec<Option<Value>> =
        graph.values().iter().map(|value| value.fact.value().cloned().map(Value::Tensor)).collect();
    for (&id, value) in graph.inputs.iter().zip(inputs) {
        values[id.index()] = Some(value);
    }
    for node in graph.nodes() {
        let outputs = {
            let inputs: Vec<Option<&Value>> =
                node.inputs.iter().map(|id| id.and_then(|id| values[id.index()].as_ref())).collect();
            run_reference(node, &inputs)?
        };
        for (id, value) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                values[id.index()] = Some(value);
            }
        }
    }
    let missing = |name: &str| NodeError {
        node: name.to_owned(),
        op: "graph output".into(),
        inputs: "()".into(),
        source: OpError::Invalid("no node, input or constant gives this value".into()),
    };
    graph
        .outputs
        .iter()
        .map(|id| values[id.index()].clone().ok_or_else(|| missing(&graph.value(*id).name)))
        .collect()
}

/// The outputs of one node by its operator's reference, after its inputs have been checked.
///
/// # Errors
/// The operator refuses the inputs or fails.
pub fn run_reference(node: &Node, inputs: &[Option<&Value>]) -> Result<Vec<Value>, NodeError> {
    let inputs = Inputs(inputs);
    evaluate(&*node.op, inputs).map_err(|source| {
        let facts: Vec<Option<Fact>> = inputs.0.iter().map(|value| value.map(Fact::of)).collect();
        node.error(&facts.iter().map(Option::as_ref).collect::<Vec<_>>(), source)
    })
}

/// What an operator's reference gives for inputs that may not have been checked yet.
///
/// Outputs without elements are not computed: their other extents may be so large that a loop over them never ends.
///
/// # Errors
/// The operator refuses the inputs or fails.
pub fn evaluate(op: &dyn Operator, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
    let facts = inputs.with_facts(|facts| op.infer(facts))?;
    let empty = facts.iter().map(without_elements).collect::<Option<Vec<Value>>>();
    match empty {
        Some(outputs) if !outputs.is_empty() && op.control().is_none() => Ok(outputs),
        _ => op.reference(inputs),
    }
}

/// The tensor of a fact that says that there are no elements.
fn without_elements(fact: &Fact) -> Option<Value> {
    let (tensor, shape) = (fact.as_tensor()?, fact.concrete_shape()?);
    (shape.elements() == 0).then(|| Tensor::zeros(tensor.dtype, shape).ok().map(Value::Tensor))?
}
