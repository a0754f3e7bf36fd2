//! Layer normalisation (Ba et al., 2016, <https://arxiv.org/abs/1607.06450>) and root-mean-square normalisation (Zhang and
//! Sennrich, 2019, <https://arxiv.org/abs/1910.07467>) that exporters spell out.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, Node, NodeId, Operator, ValueId};
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::cast::Cast;
use inferrum_ops::layer_norm::{LayerNormalization, RMSNormalization};
use inferrum_ops::reduce::{Reduce, Reduction};
use inferrum_ops::unary::UnaryKind;
use inferrum_tensor::{DType, Shape, Tensor};

use super::epilogue;
use crate::Index;
use crate::index::operator;
use crate::pattern::{Match, Pattern, any, binary, op, scalar, scalar_constant, unary};

/// Position of the scale among the inputs.
const SCALE: usize = 1;
/// Position of the addend among the inputs.
const BIAS: usize = 2;

/// Puts an operator in place of each form, with a scale of ones, then lets it take in scale and addend, and the casts
/// around it.
///
/// # Errors
/// None; the type is that of every pass.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let index = Index::new(graph);
    let (layer, rms) = (layer_norms(), rms_norms());
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        let changed = normalization(graph, &index, id, &layer, false)
            || normalization(graph, &index, id, &rms, true)
            || cast(graph, &index, id).is_some()
            || scale(graph, &index, id).is_some()
            || bias(graph, &index, id).is_some();
        count += usize::from(changed);
    }
    Ok(count)
}

fn mean(x: Pattern, axes: &'static str) -> Pattern {
    op::<Reduce>(|op| op.reduction == Reduction::Mean && op.keep_dims, vec![x, any(axes)])
}

/// `x / sqrt(mean(x^2) + eps)` in its forms.
fn over_root_mean_square(x: &Pattern) -> Vec<Pattern> {
    let squares = [binary(BinaryKind::Pow, x.clone(), scalar(2.0)), x.clone() * x.clone()];
    let mut forms = Vec::new();
    for square in squares {
        let shifted = mean(square, "axes") + any("epsilon");
        let root = unary(UnaryKind::Sqrt, shifted.clone());
        forms.push(x.clone() / root.clone());
        forms.push(x.clone() * unary(UnaryKind::Reciprocal, root.clone()));
        forms.push(x.clone() * binary(BinaryKind::Div, scalar(1.0), root));
        forms.push(x.clone() * binary(BinaryKind::Pow, shifted, scalar(-0.5)));
    }
    forms
}

fn rms_norms() -> Vec<Pattern> {
    over_root_mean_square(&any("x"))
}

fn layer_norms() -> Vec<Pattern> {
    over_root_mean_square(&(any("x") - mean(any("x"), "axes of the mean")))
}

/// One of the forms of a normalisation, without scale and addend.
fn normalization(graph: &mut Graph, index: &Index, id: NodeId, forms: &[Pattern], about_zero: bool) -> bool {
    let found = forms.iter().find_map(|form| parameters(graph, &form.find(graph, index, id)?, about_zero));
    let Some((x, axis, epsilon)) = found else { return false };
    let y = graph.nodes()[id.0].outputs.first().copied().flatten();
    // Broadcasting of the constants must not have changed the shape.
    if !y.is_some_and(|y| epilogue::same_shape(graph, x, y)) {
        return false;
    }
    let Some((dtype, shape)) = normalized(graph, x, axis) else { return false };
    let Some(ones) = ones(dtype, shape) else { return false };
    let name = format!("{}.scale", graph.nodes()[id.0].name);
    let scale = graph.add_constant(name, ones);
    let stash = DType::F32;
    let op: Arc<dyn Operator> = if about_zero {
        Arc::new(RMSNormalization { axis, epsilon, stash, outputs: 1 })
    } else {
        Arc::new(LayerNormalization { axis, epsilon, stash, outputs: 1 })
    };
    replace(graph, id, op, vec![Some(x), Some(scale)]);
    true
}

/// The input, the first normalised axis (counted from the end) and the epsilon of what was found.
fn parameters(graph: &Graph, found: &Match, about_zero: bool) -> Option<(ValueId, i64, f32)> {
    let x = found.get("x")?;
    let fact = graph.fact(x).as_tensor()?;
    let rank = fact.shape.rank()?;
    let axis = trailing(graph, found.get("axes")?, rank)?;
    if !about_zero && trailing(graph, found.get("axes of the mean")?, rank)? != axis {
        return None;
    }
    let epsilon = scalar_constant(graph, found.get("epsilon")?).filter(|epsilon| *epsilon >= 0.0)?;
    let narrow = matches!(fact.dtype, DType::F32 | DType::F16 | DType::BF16);
    narrow.then_some((x, axis, epsilon as f32))
}

/// The first of the listed axes, counted from the end, if they are the last ones.
fn trailing(graph: &Graph, axes: ValueId, rank: usize) -> Option<i64> {
    let rank = i64::try_from(rank).ok()?;
    let axes = graph.constant(axes)?.to_i64().ok()?;
    let mut axes: Vec<i64> = axes.into_iter().map(|axis| if axis < 0 { axis } else { axis - rank }).collect();
    axes.sort_unstable();
    let first = *axes.first().filter(|first| **first >= -rank)?;
    axes.into_iter().eq(first..0).then_some(first)
}

/// The type, and the extents of the axes from `axis` (counted from the end) on.
fn normalized(graph: &Graph, x: ValueId, axis: i64) -> Option<(DType, Shape)> {
    let fact = graph.fact(x).as_tensor()?;
    let dims = fact.shape.dims()?;
    let first = dims.len().checked_add_signed(isize::try_from(axis).ok()?)?;
    let shape: Option<Shape> = dims.get(first..)?.iter().map(|dim| dim.known()).collect();
    Some((fact.dtype, shape?))
}

/// The longest scale that is made up.
const MOST_ONES: usize = 1 << 20;

fn ones(dtype: DType, shape: Shape) -> Option<Tensor> {
    let elements = shape.elements();
    if elements > MOST_ONES {
        return None;
    }
    Tensor::from_f64(dtype, shape, &vec![1.0; elements]).ok()
}

fn is_ones(graph: &Graph, value: ValueId) -> bool {
    let constant = graph.constant(value).and_then(|constant| constant.to_f64().ok());
    constant.is_some_and(|elements| elements.iter().all(|&x| x == 1.0))
}

fn replace(graph: &mut Graph, id: NodeId, op: Arc<dyn Operator>, inputs: Vec<Option<ValueId>>) {
    let node = &mut graph.nodes_mut()[id.0];
    node.op = op;
    node.inputs = inputs;
    node.outputs.truncate(1);
}

/// A normalisation with the first normalised axis, counted from the end.
fn normalizes(graph: &Graph, node: &Node) -> Option<i64> {
    let axis = operator::<LayerNormalization>(node)
        .map(|op| op.axis)
        .or_else(|| operator::<RMSNormalization>(node).map(|op| op.axis))?;
    let rank = graph.fact(node.inputs.first().copied().flatten()?).as_tensor()?.shape.rank()?;
    let only = node.outputs.iter().skip(1).all(Option::is_none);
    only.then_some(if axis < 0 { axis } else { axis - i64::try_from(rank).ok()? })
}

/// The same operator with one output.
fn single(node: &Node) -> Option<Arc<dyn Operator>> {
    if let Some(op) = operator::<LayerNormalization>(node) {
        return Some(Arc::new(LayerNormalization { outputs: 1, ..op.clone() }));
    }
    let op = operator::<RMSNormalization>(node)?;
    Some(Arc::new(RMSNormalization { outputs: 1, ..op.clone() }))
}

/// Of a node with two operands: the normalisation that nobody else takes, and the other operand.
fn operands(graph: &Graph, index: &Index, node: &Node) -> Option<(NodeId, ValueId)> {
    let &[Some(a), Some(b)] = &node.inputs[..] else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(value, other)| {
        let producer = index.producer(value)?;
        normalizes(graph, &graph.nodes()[producer.0])?;
        index.sole_consumer(value)?;
        Some((producer, other))
    })
}

/// A constant that has one element for each normalised one, without leading axes of extent 1.
fn parameter(graph: &mut Graph, source: NodeId, value: ValueId) -> Option<ValueId> {
    let node = &graph.nodes()[source.0];
    let (x, axis) = (node.inputs[0]?, normalizes(graph, node)?);
    let (dtype, shape) = normalized(graph, x, axis)?;
    let constant = graph.constant(value).filter(|constant| constant.dtype() == dtype)?;
    if constant.shape().rank() > graph.fact(x).as_tensor()?.shape.rank()? {
        return None;
    }
    if *constant.shape() == shape {
        return Some(value);
    }
    let given = constant.shape().to_vec();
    let leading = given.len().checked_sub(shape.rank())?;
    if given[leading..] != shape[..] || given[..leading].iter().any(|&extent| extent != 1) {
        return None;
    }
    let constant = constant.reshape(shape).ok()?;
    let name = format!("{}.vector", graph.value(value).name);
    Some(graph.add_constant(name, constant))
}

/// `Norm(x) * scale`.
fn scale(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
    let node = &graph.nodes()[id.0];
    operator::<Binary>(node).filter(|op| op.kind == BinaryKind::Mul && op.axis.is_none())?;
    let (source, other) = operands(graph, index, node)?;
    let normalization = &graph.nodes()[source.0];
    let unscaled = is_ones(graph, normalization.inputs.get(SCALE).copied().flatten()?);
    if !unscaled || normalization.inputs.get(BIAS).copied().flatten().is_some() {
        return None;
    }
    let (op, x) = (single(normalization)?, normalization.inputs[0]);
    let scale = parameter(graph, source, other)?;
    replace(graph, id, op, vec![x, Some(scale)]);
    Some(())
}

/// `LayerNormalization(x) + bias`.
fn bias(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
    let node = &graph.nodes()[id.0];
    if !epilogue::is_add(node) {
        return None;
    }
    let (source, other) = operands(graph, index, node)?;
    let normalization = &graph.nodes()[source.0];
    operator::<LayerNormalization>(normalization)?;
    if normalization.inputs.get(BIAS).copied().flatten().is_some() {
        return None;
    }
    let (op, x, scale) = (single(normalization)?, normalization.inputs[0], normalization.inputs[SCALE]);
    let bias = parameter(graph, source, other)?;
    replace(graph, id, op, vec![x, scale, Some(bias)]);
    Some(())
}

/// `Cast(Norm(Cast(x)))` back to a narrow type, with no scale between: it computes in f32 anyway.
fn cast(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
    let node = &graph.nodes()[id.0];
    let to = operator::<Cast>(node)?.to;
    let value = node.inputs.first().copied().flatten()?;
    index.sole_consumer(value)?;
    let source = index.producer(value)?;
    let normalization = &graph.nodes()[source.0];
    let axis = normalizes(graph, normalization)?;
    let unscaled = is_ones(graph, normalization.inputs.get(SCALE).copied().flatten()?);
    if !unscaled || normalization.inputs.get(BIAS).copied().flatten().is_some() {
        return None;
    }
    let wide = normalization.inputs[0]?;
    let (_, widening, _) = index.producer_of::<Cast>(graph, wide)?;
    let x = widening.inputs.first().copied().flatten()?;
    let (from, through) = (graph.fact(x).as_tensor()?.dtype, graph.fact(wide).as_tensor()?.dtype);
    if from != to || through != DType::F32 || !matches!(to, DType::F16 | DType::BF16) {
        return None;
    }
    let op = single(normalization)?;
    let ones = ones(to, normalized(graph, x, axis)?.1)?;
    let name = format!("{}.scale", graph.nodes()[id.0].name);
    let scale = graph.add_constant(name, ones);
    replace(graph, id, op, vec![Some(x), Some(scale)]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Builder, optimized};
    use inferrum_graph::{Attr, ValueId};

    const KEEP: &[(&str, Attr)] = &[];

    fn mean(b: &mut Builder, axes: &[i64], x: ValueId) -> ValueId {
        let axes = b.ints(axes);
        b.op("ReduceMean", KEEP, &[x, axes])
    }

    /// `d / sqrt(mean(d^2) + eps)`.
    fn over_deviation(b: &mut Builder, axes: &[i64], d: ValueId) -> ValueId {
        let two = b.scalar(2.0);
        let square = b.op("Pow", &[], &[d, two]);
        let variance = mean(b, axes, square);
        let epsilon = b.scalar(1e-5);
        let shifted = b.op("Add", &[], &[epsilon, variance]);
        let root = b.op("Sqrt", &[], &[shifted]);
        b.op("Div", &[], &[d, root])
    }

    #[test]
    fn layer_norm_with_scale_and_addend() {
        for (axes, parameters) in [(&[-1][..], &[5][..]), (&[2], &[1, 1, 5]), (&[1, 2], &[3, 5])] {
            let mut b = Builder::new();
            let x = b.input(&[2, 3, 5]);
            let m = mean(&mut b, axes, x);
            let d = b.op("Sub", &[], &[x, m]);
            let y = over_deviation(&mut b, axes, d);
            let (scale, shift) = (b.constant(parameters, 1), b.constant(parameters, 2));
            let y = b.op("Mul", &[], &[scale, y]);
            let y = b.op("Add", &[], &[y, shift]);
            assert_eq!(optimized(b, y), ["LayerNormalization"], "{axes:?}");
        }
    }

    #[test]
    fn axes_that_are_not_the_last_stay() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3, 5]);
        let m = mean(&mut b, &[1], x);
        let d = b.op("Sub", &[], &[x, m]);
        let y = over_deviation(&mut b, &[1], d);
        assert!(!optimized(b, y).contains(&"LayerNormalization".to_owned()));
    }

    #[test]
    fn a_mean_over_other_axes_is_another_function() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3, 5]);
        let m = mean(&mut b, &[1, 2], x);
        let d = b.op("Sub", &[], &[x, m]);
        let y = over_deviation(&mut b, &[2], d);
        // About a given centre it is still a root-mean-square normalisation.
        assert_eq!(optimized(b, y), ["ReduceMean", "Sub", "RMSNormalization"]);
    }

    #[test]
    fn a_scale_of_each_row_is_not_taken_in() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3, 3]);
        let y = over_deviation(&mut b, &[-1], x);
        let scale = b.constant(&[3, 1], 1);
        let y = b.op("Mul", &[], &[y, scale]);
        assert_eq!(optimized(b, y), ["RMSNormalization", "Mul"]);
    }

    #[test]
    fn root_mean_square_by_reciprocal() {
        let mut b = Builder::new();
        let x = b.input(&[2, 7]);
        let square = b.op("Mul", &[], &[x, x]);
        let m = mean(&mut b, &[-1], square);
        let epsilon = b.scalar(1e-6);
        let shifted = b.op("Add", &[], &[m, epsilon]);
        let root = b.op("Sqrt", &[], &[shifted]);
        let inverse = b.op("Reciprocal", &[], &[root]);
        let y = b.op("Mul", &[], &[inverse, x]);
        let scale = b.constant(&[7], 1);
        let y = b.op("Mul", &[], &[scale, y]);
        assert_eq!(optimized(b, y), ["RMSNormalization"]);
    }

    #[test]
    fn casts_around_a_half_precision_norm() {
        let mut b = Builder::new();
        let x = b.input(&[2, 7]);
        let half = b.op("Cast", &[("to", Attr::Int(10))], &[x]);
        let wide = b.op("Cast", &[("to", Attr::Int(1))], &[half]);
        let y = over_deviation(&mut b, &[-1], wide);
        let y = b.op("Cast", &[("to", Attr::Int(10))], &[y]);
        let scale = b.constant(&[7], 1);
        let scale = b.op("Cast", &[("to", Attr::Int(10))], &[scale]);
        let y = b.op("Mul", &[], &[y, scale]);
        b.0.outputs = vec![y];
        let (graph, _) = crate::optimize(b.0).unwrap();
        let left: Vec<_> = graph.nodes().iter().map(|node| node.op.key().op_type).collect();
        assert_eq!(left, ["Cast", "RMSNormalization"]);
    }
}
