//! Matrix products take in what follows them: bias, residual, activation; and what precedes them: a transposed operand.

use std::sync::Arc;

use inferrum_graph::{Fact, Graph, GraphError, Node, NodeId, ValueId};
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::fused::linear::Linear;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::gemm::{FusedGemm, Gemm};
use inferrum_ops::matmul::MatMul;
use inferrum_ops::transpose::Transpose;
use inferrum_tensor::DType;

use super::epilogue;
use crate::Index;
use crate::index::operator;

/// Makes every matrix product of floats a [`Linear`], then lets it take in its neighbours.
///
/// # Errors
/// An operator refuses its inputs.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let index = Index::new(graph);
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        let changed = canonical(graph, id)
            || transposed_operand(graph, &index, id)
            || scaled(graph, &index, id)
            || bias(graph, &index, id)
            || residual(graph, &index, id)
            || activation(graph, &index, id);
        count += usize::from(changed);
    }
    Ok(count)
}

/// A product in any form becomes a [`Linear`].
fn canonical(graph: &mut Graph, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    let float = node.inputs.first().copied().flatten().is_some_and(|a| is_float(graph.fact(a)));
    let fused = operator::<FusedGemm>(node);
    let (product, bias) = if operator::<MatMul>(node).is_some() && float {
        (FusedMatMul::default(), None)
    } else if let Some(product) = operator::<FusedMatMul>(node) {
        (product.clone(), None)
    } else if let Some(gemm) = fused.map(|fused| &fused.gemm).or_else(|| operator::<Gemm>(node)) {
        let addend = node.inputs.get(2).copied().flatten();
        if !float
            || addend
                .is_some_and(|c| gemm.beta != 1.0 || rank(graph.fact(c)) != Some(1) || !fills(graph, node, c))
        {
            return false;
        }
        let (alpha, trans_a, trans_b) = (gemm.alpha, gemm.trans_a, gemm.trans_b);
        (FusedMatMul { alpha, trans_a, trans_b, ..FusedMatMul::default() }, addend)
    } else {
        return false;
    };
    let activation = fused.and_then(|fused| fused.activation);
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(Linear { product, activation });
    node.inputs.truncate(2);
    node.inputs.extend(bias.map(Some));
    true
}

/// Whether a vector has an element for each column of the node's output, so that it is not broadcast.
fn fills(graph: &Graph, node: &Node, vector: ValueId) -> bool {
    let length = graph.fact(vector).as_tensor().map(|tensor| tensor.shape.dim(0));
    let output = node.outputs.first().copied().flatten().and_then(|y| graph.fact(y).as_tensor());
    let columns = output.and_then(|y| y.shape.dims()?.last().cloned());
    length.zip(columns).is_some_and(|(length, columns)| length.same(&columns))
}

/// `A Transpose(B)` where the last two axes are exchanged. A transpose that also moves other axes keeps these, and leaves
/// the last axis in place, which is quicker.
fn transposed_operand(graph: &mut Graph, index: &Index, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    let Some(linear) = operator::<Linear>(node) else { return false };
    // The right operand is cheap to read either way; a transposed left one is not.
    let Some(value) = node.inputs[1] else { return false };
    let Some((producer, source, transpose)) = index.producer_of::<Transpose>(graph, value) else {
        return false;
    };
    let Some(rank) = rank(graph.fact(value)).filter(|rank| *rank >= 2) else { return false };
    let Ok(mut perm) = transpose.permutation(rank) else { return false };
    if perm[rank - 2] != rank - 1 || linear.product.trans_batch_b {
        return false;
    }
    perm.swap(rank - 2, rank - 1);
    let (mut linear, source) = (linear.clone(), source.inputs[0]);
    linear.product.trans_b = !linear.product.trans_b;
    if perm.iter().copied().eq(0..rank) {
        graph.nodes_mut()[id.0].inputs[1] = source;
    } else if index.sole_consumer(value) == Some(id) {
        graph.nodes_mut()[producer.0].op = Arc::new(Transpose { perm: Some(perm) });
        exchange_last_axes(graph, value);
    } else {
        return false;
    }
    graph.nodes_mut()[id.0].op = Arc::new(linear);
    true
}

/// What is known of a value after its last two axes have been exchanged.
fn exchange_last_axes(graph: &mut Graph, value: ValueId) {
    let Some(fact) = graph.fact(value).as_tensor() else { return };
    let mut dims = fact.shape.dims().unwrap_or_default().to_vec();
    let rank = dims.len();
    dims.swap(rank - 2, rank - 1);
    let fact = Fact::tensor(fact.dtype, dims);
    graph.value_mut(value).fact = fact;
}

/// `Linear(x) * s` and `Linear(x) / s`, before anything is added.
fn scaled(graph: &mut Graph, index: &Index, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    let Some(op) = operator::<Binary>(node) else { return false };
    let Some((value, other)) = epilogue::operands::<Linear>(graph, index, node) else { return false };
    let Some(factor) = crate::pattern::scalar_constant(graph, other) else { return false };
    let divides = op.kind == BinaryKind::Div && node.inputs[0] == Some(value);
    let factor = match op.kind {
        BinaryKind::Mul => factor,
        BinaryKind::Div if divides && factor != 0.0 => 1.0 / factor,
        _ => return false,
    };
    let Some((_, source, linear)) = index.producer_of::<Linear>(graph, value) else { return false };
    if source.inputs.len() > 2
        || linear.activation.is_some()
        || rank(graph.fact(other)) > rank(graph.fact(value))
    {
        return false;
    }
    let mut linear = linear.clone();
    linear.product.alpha = (f64::from(linear.product.alpha) * factor) as f32;
    let inputs = source.inputs.clone();
    replace(graph, id, linear, inputs)
}

/// `Linear(x) + bias`.
fn bias(graph: &mut Graph, index: &Index, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    if !epilogue::is_add(node) {
        return false;
    }
    let Some((value, other)) = epilogue::operands::<Linear>(graph, index, node) else { return false };
    let Some((_, source, linear)) = index.producer_of::<Linear>(graph, value) else { return false };
    let free = source.inputs.get(Linear::BIAS).copied().flatten().is_none() && linear.activation.is_none();
    let vector = rank(graph.fact(other)) == Some(1) && fills(graph, source, other);
    if !free || !vector || source.inputs.len() > Linear::RESIDUAL {
        return false;
    }
    let (linear, mut inputs) = (linear.clone(), source.inputs.clone());
    inputs.truncate(2);
    inputs.push(Some(other));
    replace(graph, id, linear, inputs)
}

/// `Linear(x) + residual`, of one shape.
fn residual(graph: &mut Graph, index: &Index, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    if !epilogue::is_add(node) {
        return false;
    }
    let Some((value, other)) = epilogue::operands::<Linear>(graph, index, node) else { return false };
    let Some((_, source, linear)) = index.producer_of::<Linear>(graph, value) else { return false };
    let free =
        source.inputs.get(Linear::RESIDUAL).copied().flatten().is_none() && linear.activation.is_none();
    if !free || !epilogue::same_shape(graph, value, other) {
        return false;
    }
    let (linear, mut inputs) = (linear.clone(), source.inputs.clone());
    inputs.resize(Linear::RESIDUAL, None);
    inputs.push(Some(other));
    replace(graph, id, linear, inputs)
}

/// `activation(Linear(x))`.
fn activation(graph: &mut Graph, index: &Index, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    let Some((value, activation)) = epilogue::activation(graph, node) else { return false };
    if index.sole_consumer(value) != Some(id) {
        return false;
    }
    let Some((_, source, linear)) = index.producer_of::<Linear>(graph, value) else { return false };
    if linear.activation.is_some() {
        return false;
    }
    let (linear, inputs) = (Linear { activation: Some(activation), ..linear.clone() }, source.inputs.clone());
    replace(graph, id, linear, inputs)
}

fn replace(graph: &mut Graph, id: NodeId, linear: Linear, inputs: Vec<Option<ValueId>>) -> bool {
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(linear);
    node.inputs = inputs;
    true
}

fn is_float(fact: &Fact) -> bool {
    fact.as_tensor()
        .is_some_and(|tensor| matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64))
}

fn rank(fact: &Fact) -> Option<usize> {
    fact.as_tensor()?.shape.rank()
}

#[cfg(test)]
mod tests {
    use inferrum_ops::fused_activation::FusedActivation;

    use super::super::testing::{Builder, optimized};
    use super::*;

    #[test]
    fn a_layer_with_bias_residual_and_activation() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3, 4]);
        let skip = b.input(&[2, 3, 5]);
        let (w, bias) = (b.constant(&[4, 5], 1), b.constant(&[5], 2));
        let y = b.op("MatMul", &[], &[x, w]);
        let y = b.op("Add", &[], &[bias, y]);
        let y = b.op("Add", &[], &[y, skip]);
        let y = b.op("Relu", &[], &[y]);
        assert_eq!(optimized(b, y), ["Linear"]);
    }

    #[test]
    fn scores_of_attention() {
        let mut b = Builder::new();
        let (q, k) = (b.input(&[2, 3, 4]), b.input(&[2, 5, 4]));
        let t = b.op("Transpose", &[("perm", inferrum_graph::Attr::Ints(vec![0, 2, 1]))], &[k]);
        let y = b.op("MatMul", &[], &[q, t]);
        let root = b.scalar(2.0);
        let y = b.op("Div", &[], &[y, root]);
        assert_eq!(optimized(b, y), ["Linear"]);
    }

    #[test]
    fn a_transpose_of_heads_leaves_the_last_axis() {
        let mut b = Builder::new();
        let (q, k) = (b.input(&[2, 3, 5, 4]), b.input(&[2, 7, 3, 4]));
        let t = b.op("Transpose", &[("perm", inferrum_graph::Attr::Ints(vec![0, 2, 3, 1]))], &[k]);
        let y = b.op("MatMul", &[], &[q, t]);
        assert_eq!(optimized(b, y), ["Transpose", "Linear"]);
    }

    #[test]
    fn a_gemm_keeps_an_addend_that_is_broadcast() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3]);
        let (w, one) = (b.constant(&[3, 4], 1), b.constant(&[1], 2));
        let y = b.op("Gemm", &[], &[x, w, one]);
        assert_eq!(optimized(b, y), ["Gemm"]);
    }

    #[test]
    fn a_gemm_of_onnx_runtime_keeps_its_activation() {
        let fused = |addend: &[usize]| {
            let mut b = Builder::new();
            let inputs = vec![b.input(&[2, 3]), b.constant(&[4, 3], 1), b.constant(addend, 2)];
            let gemm = Gemm { alpha: 0.5, beta: 1.0, trans_a: false, trans_b: true };
            let op = FusedGemm { gemm, activation: Some(FusedActivation::Tanh) };
            let inputs = inputs.into_iter().map(Some).collect();
            let y = b.0.add_node("fused", Arc::new(op), inputs).expect("inputs fit");
            optimized(b, y)
        };
        assert_eq!(fused(&[4]), ["Linear"]);
        assert_eq!(fused(&[2, 1]), ["FusedGemm"]);
    }

    #[test]
    fn a_product_that_is_used_twice_keeps_its_value() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3]);
        let w = b.constant(&[3, 4], 1);
        let product = b.op("MatMul", &[], &[x, w]);
        let relu = b.op("Relu", &[], &[product]);
        let y = b.op("Mul", &[], &[relu, product]);
        assert_eq!(optimized(b, y), ["Linear", "Relu", "Mul"]);
    }
}
