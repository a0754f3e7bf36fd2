//! Heads of keys and values that several heads of queries share.

use inferrum_graph::{Graph, NodeId, SymDim, ValueId};
use inferrum_ops::expand::Expand;
use inferrum_ops::fused::attention::{Attention, Layout};
use inferrum_ops::reshape::Reshape;
use inferrum_ops::unsqueeze::Unsqueeze;

use super::{dims, same};
use crate::Index;
use crate::index::operator;

/// Keys and values of which each head is repeated, for the queries that share it (<https://arxiv.org/abs/2305.13245>).
pub(super) fn shared_heads(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
    let node = &graph.nodes()[id.0];
    let op = operator::<Attention>(node)?;
    if op.layouts[1..] != [Layout::HeadsFirst; 2] {
        return None;
    }
    let (k, v) = (repeated(graph, index, node.inputs[1]?)?, repeated(graph, index, node.inputs[2]?)?);
    if !same(&dims(graph, k)?[..3], &dims(graph, v)?[..3]) {
        return None;
    }
    let inputs = &mut graph.nodes_mut()[id.0].inputs;
    (inputs[1], inputs[2]) = (Some(k), Some(v));
    Some(())
}

/// The `[B, H, L, D]` of `Reshape(Expand([B, H, 1, L, D]))` to `[B, H * G, L, D]`.
fn repeated(graph: &Graph, index: &Index, value: ValueId) -> Option<ValueId> {
    let (_, reshape, _) = index.producer_of::<Reshape>(graph, value)?;
    let expanded = reshape.inputs.first().copied().flatten()?;
    let (_, expand, _) = index.producer_of::<Expand>(graph, expanded)?;
    let (_, unsqueeze, _) =
        index.producer_of::<Unsqueeze>(graph, expand.inputs.first().copied().flatten()?)?;
    let source = unsqueeze.inputs.first().copied().flatten()?;
    let (own, single) = (dims(graph, source)?, dims(graph, expand.inputs[0]?)?);
    let (many, whole) = (dims(graph, expanded)?, dims(graph, value)?);
    let ([b, h, l, d], [_, _, one, _, _], [_, _, groups, _, _]) = (own, single, many) else {
        return None;
    };
    let heads = h.known()?.checked_mul(groups.known()?)?;
    let fits = one.known() == Some(1)
        && same(&[b.clone(), h.clone(), one.clone(), l.clone(), d.clone()], single)
        && same(&[b.clone(), h.clone(), groups.clone(), l.clone(), d.clone()], many)
        && same(&[b.clone(), SymDim::Known(heads), l.clone(), d.clone()], whole);
    fits.then_some(source)
}
