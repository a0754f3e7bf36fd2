//! Convolutions take in what follows them: batch normalisation and other constants per channel (into the weights), a
//! residual, an activation.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, Node, NodeId, ValueId};
use inferrum_ops::batch_norm::BatchNormalization;
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::conv::{Conv, FusedConv};
use inferrum_tensor::{DType, Tensor, TensorError};

use super::epilogue;
use crate::Index;
use crate::index::operator;

/// Position of the bias among the inputs.
const BIAS: usize = 2;
/// Position of the residual among the inputs.
const RESIDUAL: usize = 3;

/// Makes every f32 convolution a [`FusedConv`], then lets it take in its neighbours.
///
/// # Errors
/// Memory for the new weights.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let index = Index::new(graph);
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        let changed = canonical(graph, id)
            || per_channel(graph, &index, id)
            || residual(graph, &index, id)
            || activation(graph, &index, id);
        count += usize::from(changed);
    }
    Ok(count)
}

fn canonical(graph: &mut Graph, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    let Some(conv) = operator::<Conv>(node) else { return false };
    let float = |x| graph.fact(x).as_tensor().is_some_and(|x| is_float(x.dtype));
    if !node.inputs[0].is_some_and(float) {
        return false;
    }
    let op = Arc::new(FusedConv::new(conv.clone(), None));
    graph.nodes_mut()[id.0].op = op;
    true
}

/// Types of convolutions that are rewritten.
fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16)
}

/// The factor and addend of each channel.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

/// `conv(x) * scale + shift`, with constants per channel.
fn per_channel(graph: &mut Graph, index: &Index, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    let Some((value, affine)) = batch_norm(graph, node).or_else(|| arithmetic(graph, index, node)) else {
        return false;
    };
    if index.sole_consumer(value) != Some(id) {
        return false;
    }
    let Some((_, source, conv)) = index.producer_of::<FusedConv>(graph, value) else { return false };
    let plain = conv.activation.is_none() && source.inputs.get(RESIDUAL).copied().flatten().is_none();
    let weights = source.inputs[1].and_then(|w| graph.constant(w)).filter(|w| is_float(w.dtype()));
    let (true, Some(weights)) = (plain, weights) else { return false };
    let bias = match source.inputs.get(BIAS).copied().flatten() {
        None => vec![0.0; affine.scale.len()],
        Some(bias) => match graph.constant(bias).map(Tensor::to_f64) {
            Some(Ok(bias)) => bias,
            _ => return false,
        },
    };
    let Ok((weights, bias)) = folded(weights, &bias, &affine) else { return false };
    let (conv, x) = (conv.clone(), source.inputs[0]);
    let name = graph.nodes()[id.0].name.clone();
    let weights = graph.add_constant(format!("{name}.weights"), weights);
    let bias = graph.add_constant(format!("{name}.bias"), bias);
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(conv);
    node.inputs = vec![x, Some(weights), Some(bias)];
    node.outputs.truncate(1);
    true
}

/// Weights and bias with the affine map taken in, computed in f64 and rounded once.
fn folded(weights: &Tensor, bias: &[f64], affine: &Affine) -> Result<(Tensor, Tensor), TensorError> {
    let channels = affine.scale.len();
    let mismatch = || TensorError::Length {
        shape: weights.shape().clone(),
        unit: "channels",
        expected: channels,
        got: weights.shape().first().copied().unwrap_or(0),
    };
    if weights.shape().first() != Some(&channels) || bias.len() != channels || channels == 0 {
        return Err(mismatch());
    }
    let mut wide = weights.to_f64()?;
    let per_channel = (wide.len() / channels).max(1);
    for (row, scale) in wide.chunks_exact_mut(per_channel).zip(&affine.scale) {
        row.iter_mut().for_each(|w| *w *= scale);
    }
    let bias: Vec<f64> = bias
        .iter()
        .zip(&affine.scale)
        .zip(&affine.shift)
        .map(|((bias, scale), shift)| bias * scale + shift)
        .collect();
    let rounded = Tensor::from_f64(weights.dtype(), weights.shape().clone(), &wide)?;
    Ok((rounded, Tensor::from_f64(weights.dtype(), [channels], &bias)?))
}

/// A batch normalisation in inference as an affine map of its input.
fn batch_norm(graph: &Graph, node: &Node) -> Option<(ValueId, Affine)> {
    let op = operator::<BatchNormalization>(node).filter(|op| op.training.is_none() && op.spatial)?;
    let &[Some(x), Some(scale), Some(shift), Some(mean), Some(variance)] = &node.inputs[..] else {
        return None;
    };
    let constant = |id: ValueId| graph.constant(id)?.to_f64().ok();
    let (scale, shift, mean, variance) =
        (constant(scale)?, constant(shift)?, constant(mean)?, constant(variance)?);
    let scale: Vec<f64> = scale
        .iter()
        .zip(&variance)
        .map(|(scale, variance)| scale / (variance + f64::from(op.epsilon)).sqrt())
        .collect();
    let shift =
        shift.iter().zip(&mean).zip(&scale).map(|((shift, mean), scale)| shift - mean * scale).collect();
    Some((x, Affine { scale, shift }))
}

/// `conv * c`, `conv / c`, `conv + c`, `conv - c` with constants per channel or for all channels.
fn arithmetic(graph: &Graph, index: &Index, node: &Node) -> Option<(ValueId, Affine)> {
    let op = operator::<Binary>(node).filter(|op| op.axis.is_none())?;
    let (value, other) = epilogue::operands::<FusedConv>(graph, index, node)?;
    let rank = graph.fact(value).as_tensor()?.shape.rank()?;
    let channels = graph.fact(value).as_tensor()?.shape.dim(1).known()?;
    let constants = per_channel_constant(graph.constant(other)?, rank, channels)?;
    let first = node.inputs[0] == Some(value);
    let (scale, shift) = match op.kind {
        BinaryKind::Mul => (constants, vec![0.0; channels]),
        BinaryKind::Div if first => (constants.iter().map(|c| 1.0 / c).collect(), vec![0.0; channels]),
        BinaryKind::Add => (vec![1.0; channels], constants),
        BinaryKind::Sub if first => (vec![1.0; channels], constants.iter().map(|c| -c).collect()),
        _ => return None,
    };
    scale.iter().all(|scale| scale.is_finite()).then_some((value, Affine { scale, shift }))
}

/// A constant of one element, or of shape [C, 1, ..] under broadcasting, as one number for each channel.
fn per_channel_constant(constant: &Tensor, rank: usize, channels: usize) -> Option<Vec<f64>> {
    if !is_float(constant.dtype()) || constant.shape().rank() > rank {
        return None;
    }
    let values = constant.to_f64().ok()?;
    if let [only] = values[..] {
        return Some(vec![only; channels]);
    }
    // Padded with leading ones, only the channel axis may be longer than one.
    let channel_axis = (constant.shape().rank() + 1).checked_sub(rank)?;
    let fits = constant
        .shape()
        .iter()
        .enumerate()
        .all(|(axis, &dim)| dim == if axis == channel_axis { channels } else { 1 });
    fits.then_some(values)
}

/// `conv(x) + residual`, of one shape.
fn residual(graph: &mut Graph, index: &Index, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    if !epilogue::is_add(node) {
        return false;
    }
    let Some((value, other)) = epilogue::operands::<FusedConv>(graph, index, node) else { return false };
    let Some((_, source, conv)) = index.producer_of::<FusedConv>(graph, value) else { return false };
    let free = source.inputs.get(RESIDUAL).copied().flatten().is_none() && conv.activation.is_none();
    if !free || !epilogue::same_shape(graph, value, other) {
        return false;
    }
    let (conv, mut inputs) = (conv.clone(), source.inputs.clone());
    inputs.resize(RESIDUAL, None);
    inputs.push(Some(other));
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(conv);
    node.inputs = inputs;
    true
}

/// `activation(conv(x))`.
fn activation(graph: &mut Graph, index: &Index, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    let Some((value, activation)) = epilogue::activation(graph, node) else { return false };
    if index.sole_consumer(value) != Some(id) {
        return false;
    }
    let Some((_, source, conv)) = index.producer_of::<FusedConv>(graph, value) else { return false };
    if conv.activation.is_some() {
        return false;
    }
    let (conv, inputs) = (FusedConv { activation: Some(activation), ..conv.clone() }, source.inputs.clone());
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(conv);
    node.inputs = inputs;
    true
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Builder, optimized};
    use inferrum_graph::Attr;

    #[test]
    fn batch_norm_residual_and_relu() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3, 5, 5]);
        let skip = b.input(&[2, 4, 3, 3]);
        let (w, bias) = (b.constant(&[4, 3, 3, 3], 1), b.constant(&[4], 2));
        let y = b.op("Conv", &[], &[x, w, bias]);
        let parameters: Vec<_> = (3..7).map(|seed| b.constant(&[4], seed)).collect();
        let y = b.op("BatchNormalization", &[], &[&[y], &parameters[..]].concat());
        let y = b.op("Add", &[], &[skip, y]);
        let y = b.op("Relu", &[], &[y]);
        assert_eq!(optimized(b, y), ["FusedConv"]);
    }

    #[test]
    fn constants_per_channel_but_not_per_column() {
        let mut b = Builder::new();
        let x = b.input(&[1, 4, 4, 4]);
        let w = b.constant(&[4, 1, 1, 1], 1);
        let y = b.op("Conv", &[("group", Attr::Int(4))], &[x, w]);
        let scale = b.constant(&[1, 4, 1, 1], 2);
        let y = b.op("Mul", &[], &[y, scale]);
        let shift = b.constant(&[4, 1, 1], 3);
        let y = b.op("Sub", &[], &[y, shift]);
        let columns = b.constant(&[4], 4);
        let y = b.op("Mul", &[], &[columns, y]);
        assert_eq!(optimized(b, y), ["FusedConv", "Mul"]);
    }

    #[test]
    fn a_subtrahend_is_not_folded() {
        let mut b = Builder::new();
        let x = b.input(&[1, 2, 3, 3]);
        let w = b.constant(&[2, 2, 1, 1], 1);
        let y = b.op("Conv", &[], &[x, w]);
        let minuend = b.constant(&[2, 1, 1], 2);
        let y = b.op("Sub", &[], &[minuend, y]);
        assert_eq!(optimized(b, y), ["FusedConv", "Sub"]);
    }
}
