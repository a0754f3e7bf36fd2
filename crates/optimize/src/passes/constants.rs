//! Computes nodes whose inputs are all constant.

use inferrum_graph::{Fact, Facts, Graph, GraphError, Node, run_reference};
use inferrum_tensor::{DType, Tensor, Value};

/// A constant that is made stays if it is at most this many bytes,
const MOST_BYTES: usize = 1 << 20;
/// or at most this many times what it is made of: weights of 8 or 4 bits are dequantised once, not in every run.
const MOST_GROWTH: usize = 8;

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
    let size = inferred.iter().try_fold(0usize, |sum, fact| Some(sum.saturating_add(bytes(fact)?)));
    let Some(size) = size else { return Ok(None) };
    let source: usize =
        inputs.iter().flatten().filter_map(Value::as_tensor).map(|tensor| tensor.bytes().len()).sum();
    if size > MOST_BYTES.max(source.saturating_mul(MOST_GROWTH)) {
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
    let (elements, dtype) = (fact.concrete_shape()?.elements(), fact.as_tensor()?.dtype);
    let size = if dtype == DType::String { size_of::<String>() } else { dtype.size() };
    Some(elements.saturating_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusions::testing::Builder;

    fn folds(op_type: &str, inputs: Vec<Tensor>) -> bool {
        let mut builder = Builder::new();
        let ids: Vec<_> = inputs.into_iter().map(|tensor| builder.0.add_constant("c", tensor)).collect();
        let output = builder.op(op_type, &[], &ids);
        let mut graph = builder.0;
        graph.outputs = vec![output];
        let folded = run(&mut graph).unwrap();
        assert_eq!(folded == 1, graph.constant(output).is_some() && graph.nodes().is_empty());
        folded == 1
    }

    #[test]
    fn weights_are_dequantized_once_but_nothing_grows_out_of_bounds() {
        let weights = Tensor::zeros(DType::I8, [1024, 1024]).unwrap();
        assert!(folds("DequantizeLinear", vec![weights, Tensor::scalar(0.5f32)]));
        let extents = |n: i64| Tensor::vector(vec![n]);
        assert!(folds("Expand", vec![Tensor::vector(vec![1f32]), extents(1 << 18)]));
        assert!(!folds("Expand", vec![Tensor::vector(vec![1f32]), extents((1 << 18) + 1)]));
        assert!(!folds("Expand", vec![Tensor::vector(vec![1f32]), extents(1 << 60)]));
        let text = Tensor::from_strings([1], vec!["a".to_owned()]).unwrap();
        assert!(folds("Expand", vec![text.clone(), extents(100)]));
        assert!(!folds("Expand", vec![text, extents(1 << 17)]));
    }
}
