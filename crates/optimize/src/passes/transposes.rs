//! Transposes that follow each other become one.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, NodeId};
use inferrum_ops::transpose::Transpose;

use crate::Index;
use crate::index::operator;

/// `Transpose(Transpose(x))` becomes one; where the two undo each other, a no-op is left.
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
    let outer = operator::<Transpose>(node)?;
    let middle = node.inputs.first().copied().flatten()?;
    let (_, source, inner) = index.producer_of::<Transpose>(graph, middle)?;
    let x = source.inputs.first().copied().flatten()?;
    let rank = graph.fact(middle).as_tensor()?.shape.rank()?;
    let (inner, outer) = (inner.permutation(rank).ok()?, outer.permutation(rank).ok()?);
    let perm = outer.into_iter().map(|axis| inner[axis]).collect();
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(Transpose { perm: Some(perm) });
    node.inputs = vec![Some(x)];
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::super::fusions::testing::{Builder, optimized};
    use inferrum_graph::{Attr, ValueId};

    fn transpose(b: &mut Builder, perm: &[i64], x: ValueId) -> ValueId {
        b.op("Transpose", &[("perm", Attr::Ints(perm.to_vec()))], &[x])
    }

    #[test]
    fn two_become_one_or_none() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3, 4]);
        let y = transpose(&mut b, &[1, 2, 0], x);
        let y = transpose(&mut b, &[0, 2, 1], y);
        assert_eq!(optimized(b, y), ["Transpose"]);
        let mut b = Builder::new();
        let x = b.input(&[2, 3, 4]);
        let x = b.op("Softmax", &[], &[x]);
        let y = transpose(&mut b, &[1, 2, 0], x);
        let y = transpose(&mut b, &[2, 0, 1], y);
        assert_eq!(optimized(b, y), ["Softmax"]);
    }

    #[test]
    fn what_stands_between_keeps_them_apart() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3, 4]);
        let y = transpose(&mut b, &[1, 2, 0], x);
        let y = b.op("Softmax", &[], &[y]);
        let y = transpose(&mut b, &[2, 0, 1], y);
        assert_eq!(optimized(b, y), ["Transpose", "Softmax", "Transpose"]);
    }
}
