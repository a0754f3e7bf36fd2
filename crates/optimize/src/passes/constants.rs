//! Computes nodes whose inputs are all constant.

use inferrum_graph::{Fact, Facts, Graph, GraphError, Node, run_reference};
use inferrum_tensor::{Tensor, Value};

/// A constant that is made stays if it is at most this many bytes, or no larger than what it is made of.
const MOST_BYTES: usize = 1 << 20;

/// A node is computed here if that is at most this many operations, or few for each byte.
const MOST_FLOPS: u64 = 1 << 26;
const FLOPS_PER_BYTE: u64 = 16;

/// Folds every node that can be; the node itself is left without use.
///
/// # Errors
/// An operator refuses its constant inputs.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let mut folded = 0;
    for index in 0..graph.nodes().len() {
        let node = &graph.nodes()[index];
        if let Some(values) = fold(graph, node)? {
            for (output, value) in node.outputs.clone().into_iter().zip(values) {
                if let (Some(id), Some(tensor)) = (output, value.into_tensor()) {
                    graph.value_mut(id).fact = Fact::constant(tensor);
                }
            }
            graph.nodes_mut()[index].outputs.fill(None);
            folded += 1;
        }
    }
    graph.nodes_mut().retain(|node| node.outputs.iter().any(Option::is_some));
    Ok(folded)
}

/// The outputs of a node, if they are worth being constants.
fn fold(graph: &Graph, node: &Node) -> Result<Option<Vec<Value>>, GraphError> {
    if !node.op.is_pure() || node.op.control().is_some() {
        return Ok(None);
    }
    let constant = |tensor: &Tensor| Value::Tensor(tensor.clone());
    let inputs: Option<Vec<Option<Value>>> = node
        .inputs
        .iter()
        .map(|id| id.map_or(Some(None), |id| graph.constant(id).map(|t| Some(constant(t)))))
        .collect();
    let Some(inputs) = inputs else { return Ok(None) };
    // The size is known before the work is done.
    let inferred = graph.infer_node(node)?;
    let Some(size) = inferred.iter().map(bytes).sum::<Option<usize>>() else { return Ok(None) };
    let source: usize =
        inputs.iter().flatten().filter_map(Value::as_tensor).map(|tensor| tensor.bytes().len()).sum();
    if size > MOST_BYTES.max(source) {
        return Ok(None);
    }
    let work = node.op.flops(Facts(&graph.input_facts(node)), &inferred);
    if work > MOST_FLOPS.max(FLOPS_PER_BYTE.saturating_mul(source.max(size) as u64)) {
        return Ok(None);
    }
    let refs: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
    let outputs = run_reference(node, &refs)?;
    let tensors =
        outputs.iter().zip(&node.outputs).all(|(value, id)| id.is_none() || value.as_tensor().is_some());
    Ok(tensors.then_some(outputs))
}

fn bytes(fact: &Fact) -> Option<usize> {
    let elements = fact.concrete_shape()?.elements();
    // Strings are counted as pointers.
    Some(elements.saturating_mul(fact.as_tensor()?.dtype.size().max(16)))
}
