//! Transposes of operands and of the output, which become layouts of [`Attention`].

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, NodeId, SymDim, ValueId};
use inferrum_ops::fused::attention::{Attention, Layout};
use inferrum_ops::reshape::Reshape;
use inferrum_ops::transpose::Transpose;
use inferrum_tensor::Tensor;

use super::{dims, rank, same};
use crate::Index;
use crate::index::operator;

/// An operand `[length, batch * heads, width]` that is transposed before it gets four axes.
pub(super) fn stacked_operand(
    graph: &mut Graph,
    index: &Index,
    id: NodeId,
    operand: usize,
) -> Result<bool, GraphError> {
    let found = |graph: &Graph| {
        let node = &graph.nodes()[id.0];
        let op = operator::<Attention>(node).filter(|op| op.layouts[operand] == Layout::HeadsFirst)?;
        let stack = stack(graph, index, node.inputs[operand]?).filter(|stack| stack.perm == [1, 0, 2])?;
        let mut op = op.clone();
        op.layouts[operand] = Layout::LengthOuter;
        let [batch, heads, length, width] = <[SymDim; 4]>::try_from(stack.dims).ok()?;
        Some((op, stack.source, target(&[length, batch, heads, width])?))
    };
    let Some((op, source, target)) = found(graph) else { return Ok(false) };
    let name = format!("{}.{}", graph.nodes()[id.0].name, ["q", "k", "v"][operand]);
    let source = reshape(graph, &name, source, target)?;
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(op);
    node.inputs[operand] = Some(source);
    Ok(true)
}

/// An operand that is transposed before.
pub(super) fn transposed_operand(graph: &mut Graph, index: &Index, id: NodeId, operand: usize) -> Option<()> {
    let node = &graph.nodes()[id.0];
    let op = operator::<Attention>(node).filter(|op| op.layouts[operand] == Layout::HeadsFirst)?;
    let (_, source, transpose) = index.producer_of::<Transpose>(graph, node.inputs[operand]?)?;
    let layout = layout_of(&transpose.permutation(4).ok()?)?;
    let (mut op, source) = (op.clone(), source.inputs[0]);
    op.layouts[operand] = layout;
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(op);
    node.inputs[operand] = source;
    Some(())
}

/// `Transpose(Attention(..))`.
pub(super) fn transposed_output(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
    let node = &graph.nodes()[id.0];
    let perm = operator::<Transpose>(node)?.permutation(4).ok()?;
    let value = node.inputs.first().copied().flatten()?;
    index.sole_consumer(value)?;
    let (_, source, op) = index.producer_of::<Attention>(graph, value)?;
    if op.output != Layout::HeadsFirst || rank(graph, value) != Some(4) {
        return None;
    }
    let mut axes = [0; 4];
    perm.iter().enumerate().for_each(|(place, &axis)| axes[axis] = place);
    let (op, inputs) = (Attention { output: layout_of(&axes)?, ..op.clone() }, source.inputs.clone());
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(op);
    node.inputs = inputs;
    Some(())
}

pub(super) fn layout_of(perm: &[usize]) -> Option<Layout> {
    Layout::ALL.into_iter().find(|layout| layout.axes() == perm)
}

/// `Reshape(Transpose(source))`, which has three axes, to four of these extents.
pub(super) struct Stack {
    pub(super) source: ValueId,
    pub(super) perm: [usize; 3],
    pub(super) dims: Vec<SymDim>,
}

/// The stack of matrices that `value` is, which only gives the leading axis two.
pub(super) fn stack(graph: &Graph, index: &Index, value: ValueId) -> Option<Stack> {
    let (_, outer, _) = index.producer_of::<Reshape>(graph, value)?;
    let transposed = outer.inputs.first().copied().flatten()?;
    let (_, node, op) = index.producer_of::<Transpose>(graph, transposed)?;
    let perm = <[usize; 3]>::try_from(op.permutation(rank(graph, transposed)?).ok()?).ok()?;
    let (three, four) = (dims(graph, transposed)?, dims(graph, value)?);
    let fits = four.len() == 4 && same(&three[1..], &four[2..]);
    fits.then_some(Stack { source: node.inputs.first().copied().flatten()?, perm, dims: four.to_vec() })
}

/// The target of a `Reshape` to these extents, of which one may be open.
pub(super) fn target(dims: &[SymDim]) -> Option<Vec<i64>> {
    if dims.iter().filter(|dim| dim.known().is_none()).count() > 1 || dims.contains(&SymDim::Known(0)) {
        return None;
    }
    let extents = dims.iter().map(|dim| dim.known().map_or(Ok(-1), i64::try_from));
    extents.collect::<Result<_, _>>().ok()
}

pub(super) fn reshape(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    target: Vec<i64>,
) -> Result<ValueId, GraphError> {
    let target = graph.add_constant(format!("{name}.shape"), Tensor::vector(target));
    let op = Arc::new(Reshape { allow_zero: true });
    Ok(graph.add_node(name, op, vec![Some(x), Some(target)])?)
}
