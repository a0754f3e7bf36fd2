//! The keys of scores, which the product takes as columns, as rows.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, ValueId};
use inferrum_ops::fused::attention::Layout;
use inferrum_ops::transpose::Transpose;
use inferrum_tensor::DType;

use super::layouts::{Stack, layout_of, reshape, stack, target};
use super::scores::{Scores, unscaled};
use super::{dims, dtype, rank, same};
use crate::Index;

/// The keys as rows, in which layout, and their factor; if queries `q`, keys and values `v` are of one kind.
pub(super) fn keys(
    graph: &mut Graph,
    index: &Index,
    scores: &Scores,
    q: ValueId,
    v: ValueId,
) -> Result<Option<(ValueId, Layout, f64)>, GraphError> {
    let (k, factor) = unscaled(graph, index, scores.k);
    let fits = |graph: &Graph, k: ValueId| {
        let (Some(q_dims), Some(mut k_dims), Some(v_dims)) =
            (dims(graph, q), dims(graph, k).map(<[_]>::to_vec), dims(graph, v))
        else {
            return false;
        };
        let rank = q_dims.len();
        if !(2..=4).contains(&rank) || k_dims.len() != rank || v_dims.len() != rank {
            return false;
        }
        if !scores.rows {
            k_dims.swap(rank - 2, rank - 1);
        }
        let batch = rank - 2;
        let types = [q, k, v].map(|value| dtype(graph, value));
        same(&q_dims[..batch], &k_dims[..batch])
            && same(&v_dims[..batch], &k_dims[..batch])
            && q_dims[rank - 1].same(&k_dims[rank - 1])
            && v_dims[batch].same(&k_dims[batch])
            && types == [types[0]; 3]
            && matches!(types[0], Some(DType::F32 | DType::F16 | DType::BF16 | DType::F64))
    };
    if !fits(graph, k) {
        return Ok(None);
    }
    if scores.rows {
        return Ok(Some((k, Layout::HeadsFirst, factor)));
    }
    if let Some((source, layout)) = untransposed(graph, index, k) {
        return Ok(Some((source, layout, factor)));
    }
    Ok(reshaped(graph, index, k)?.map(|source| (source, Layout::HeadsFirst, factor)))
}

/// What a `Transpose` into columns takes, and its layout.
fn untransposed(graph: &Graph, index: &Index, columns: ValueId) -> Option<(ValueId, Layout)> {
    let (_, node, op) = index.producer_of::<Transpose>(graph, columns)?;
    let rank = rank(graph, columns)?;
    let mut perm = op.permutation(rank).ok()?;
    perm.swap(rank - 2, rank - 1);
    let source = node.inputs.first().copied().flatten()?;
    if perm.iter().copied().eq(0..rank) {
        return Some((source, Layout::HeadsFirst));
    }
    layout_of(&perm).map(|layout| (source, layout))
}

/// Rows for columns that are transposed as one stack of matrices, and have their leading axes only after that.
fn reshaped(graph: &mut Graph, index: &Index, columns: ValueId) -> Result<Option<ValueId>, GraphError> {
    let Some(Stack { source, perm, mut dims }) = stack(graph, index, columns) else { return Ok(None) };
    dims.swap(2, 3);
    let Some(target) = target(&dims) else { return Ok(None) };
    let name = format!("{}.rows", graph.value(columns).name);
    let perm = vec![perm[0], perm[2], perm[1]];
    let rows = match perm[..] {
        [0, 1, 2] => source,
        _ => {
            let op = Arc::new(Transpose { perm: Some(perm) });
            graph.add_node(format!("{name}.stack"), op, vec![Some(source)])?
        }
    };
    Ok(Some(reshape(graph, &name, rows, target)?))
}
