//! Changes of shape that follow each other become one: `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, Node, NodeId, ShapeFact, SymDim, ValueId};
use inferrum_ops::flatten::Flatten;
use inferrum_ops::identity::Identity;
use inferrum_ops::reshape::Reshape;
use inferrum_ops::squeeze::Squeeze;
use inferrum_ops::unsqueeze::Unsqueeze;
use inferrum_tensor::Tensor;

use crate::Index;
use crate::index::operator;

/// Makes a change of shape that follows another start from the first one's input.
///
/// # Errors
/// None; the type is that of every pass.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let index = Index::new(graph);
    let merges = (0..graph.nodes().len()).map(NodeId).filter(|&id| merged(graph, &index, id).is_some());
    Ok(merges.count())
}

fn merged(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
    let node = &graph.nodes()[id.0];
    let middle = node.inputs.first().copied().flatten().filter(|_| is_view(node))?;
    let inner = &graph.nodes()[index.producer(middle)?.0];
    let x = inner.inputs.first().copied().flatten().filter(|_| is_view(inner))?;
    let y = &graph.fact(node.outputs.first().copied().flatten()?).as_tensor()?.shape;
    if same_shape(y, &graph.fact(x).as_tensor()?.shape) || undo_each_other(graph, middle, inner, node) {
        let node = &mut graph.nodes_mut()[id.0];
        node.op = Arc::new(Identity);
        node.inputs = vec![Some(x)];
    } else if names_every_extent(graph, node) {
        graph.nodes_mut()[id.0].inputs[0] = Some(x);
    } else {
        let target = target(y)?;
        let target =
            graph.add_constant(format!("{}.shape", graph.nodes()[id.0].name), Tensor::vector(target));
        let node = &mut graph.nodes_mut()[id.0];
        node.op = Arc::new(Reshape { allow_zero: true });
        node.inputs = vec![Some(x), Some(target)];
    }
    Some(())
}

fn is_view(node: &Node) -> bool {
    operator::<Reshape>(node).is_some()
        || operator::<Flatten>(node).is_some()
        || operator::<Squeeze>(node).is_some()
        || operator::<Unsqueeze>(node).is_some()
}

fn same_shape(a: &ShapeFact, b: &ShapeFact) -> bool {
    let (Some(a), Some(b)) = (a.dims(), b.dims()) else { return false };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

/// Whether a node is a `Reshape` to constant extents, none of which is copied from its input.
fn names_every_extent(graph: &Graph, node: &Node) -> bool {
    let Some(reshape) = operator::<Reshape>(node) else { return false };
    let target =
        node.inputs.get(1).copied().flatten().and_then(|target| graph.constant(target)?.to_i64().ok());
    target.is_some_and(|target| reshape.allow_zero || !target.contains(&0))
}

/// The target of a `Reshape` (with `allowzero`) that gives this shape from whatever has as many elements.
fn target(shape: &ShapeFact) -> Option<Vec<i64>> {
    let dims = shape.dims()?;
    let open = dims.iter().filter(|dim| dim.known().is_none()).count();
    if open > 1 || (open == 1 && dims.contains(&SymDim::Known(0))) {
        return None;
    }
    dims.iter().map(|dim| dim.known().map_or(Some(-1), |extent| i64::try_from(extent).ok())).collect()
}

/// Whether one of two nodes puts in the axes that the other takes out.
fn undo_each_other(graph: &Graph, middle: ValueId, inner: &Node, outer: &Node) -> bool {
    // Both count axes in the longer of the two shapes.
    let rank = |value: Option<ValueId>| graph.fact(value?).as_tensor()?.shape.rank();
    let rank = if operator::<Unsqueeze>(inner).is_some() && operator::<Squeeze>(outer).is_some() {
        rank(Some(middle))
    } else if operator::<Squeeze>(inner).is_some() && operator::<Unsqueeze>(outer).is_some() {
        rank(inner.inputs.first().copied().flatten())
    } else {
        None
    };
    let axes = |node: &Node| {
        let axes = graph.constant(node.inputs.get(1).copied().flatten()?)?.to_i64().ok()?;
        let rank = rank? as i64;
        let mut axes: Vec<i64> =
            axes.into_iter().map(|axis| if axis < 0 { axis + rank } else { axis }).collect();
        axes.sort_unstable();
        Some(axes)
    };
    axes(inner).is_some_and(|inner| axes(outer) == Some(inner))
}

#[cfg(test)]
mod tests {
    use super::super::super::fusions::testing::{Builder, optimized};
    use inferrum_graph::{Fact, SymDim};
    use inferrum_tensor::DType;

    fn reshapes(shape: &[usize], first: &[i64], second: &[i64]) -> Vec<String> {
        let mut b = Builder::new();
        let x = b.input(shape);
        let (first, second) = (b.ints(first), b.ints(second));
        let y = b.op("Reshape", &[], &[x, first]);
        let y = b.op("Reshape", &[], &[y, second]);
        optimized(b, y)
    }

    #[test]
    fn the_last_shape_counts() {
        assert_eq!(reshapes(&[2, 3, 4], &[6, 4], &[-1, 8]), ["Reshape"]);
        assert_eq!(reshapes(&[2, 3, 4], &[6, 4], &[0, 2, 2]), ["Reshape"]);
        assert_eq!(reshapes(&[2, 0, 4], &[0, 0, 2, 2], &[0, 0, 4]), ["Identity"]);
    }

    #[test]
    fn axes_put_in_and_taken_out() {
        let mut b = Builder::new();
        let rows = ["n", "m"].map(|name| SymDim::Symbol(name.into()));
        let x = b.0.add_input(
            "x",
            Fact::tensor(DType::F32, rows.into_iter().collect::<inferrum_graph::ShapeFact>()),
        );
        let x = b.op("Softmax", &[], &[x]);
        let (front, same, other) = (b.ints(&[0]), b.ints(&[-3]), b.ints(&[1]));
        let y = b.op("Unsqueeze", &[], &[x, front]);
        let y = b.op("Squeeze", &[], &[y, same]);
        let z = b.op("Unsqueeze", &[], &[y, front]);
        let z = b.op("LogSoftmax", &[], &[z]);
        let z = b.op("Unsqueeze", &[], &[z, other]);
        b.0.outputs = vec![z];
        let (graph, _) = crate::optimize(b.0).unwrap();
        let left: Vec<_> = graph.nodes().iter().map(|node| node.op.key().op_type).collect();
        assert_eq!(left, ["Softmax", "Unsqueeze", "LogSoftmax", "Unsqueeze"]);
    }

    #[test]
    fn two_open_extents_are_not_guessed() {
        let mut b = Builder::new();
        let rows = ["n", "m"].map(|name| SymDim::Symbol(name.into()));
        let x = b.0.add_input(
            "x",
            Fact::tensor(DType::F32, rows.into_iter().collect::<inferrum_graph::ShapeFact>()),
        );
        let (front, end) = (b.ints(&[0]), b.ints(&[-1]));
        let y = b.op("Unsqueeze", &[], &[x, front]);
        let y = b.op("Unsqueeze", &[], &[y, end]);
        b.0.outputs = vec![y];
        let (graph, _) = crate::optimize(b.0).unwrap();
        assert_eq!(graph.nodes().len(), 2);
    }
}
