//! Scaled dot-product attention that exporters spell out: `softmax(scale Q Kᵀ + mask) V` (<https://arxiv.org/abs/1706.03762>).

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, NodeId, SymDim, ValueId};
use inferrum_ops::fused::attention::{Attention, Layout};
use inferrum_ops::unary::{Unary, UnaryKind};
use inferrum_tensor::DType;

use crate::Index;

mod keys;
mod layouts;
mod scores;
mod shared_heads;

use keys::keys;
use layouts::{stacked_operand, transposed_operand, transposed_output};
use scores::{DEPTH, Mask, Product, Scores, masks, product, scores, softmax, unscaled};
use shared_heads::shared_heads;

/// Puts [`Attention`] in place of the product with the values, then lets it take in transposes and repeated heads.
///
/// # Errors
/// An operator refuses its inputs.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let index = Index::new(graph);
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        let mut changed = attention(graph, &index, id)?;
        for operand in 0..3 {
            changed = changed || stacked_operand(graph, &index, id, operand)?;
        }
        changed = changed
            || (0..3).any(|operand| transposed_operand(graph, &index, id, operand).is_some())
            || shared_heads(graph, &index, id).is_some()
            || transposed_output(graph, &index, id).is_some();
        count += usize::from(changed);
    }
    if count > 0 {
        graph.sort()?;
    }
    Ok(count)
}

/// The operator in place of the product `id` of probabilities and values.
fn attention(graph: &mut Graph, index: &Index, id: NodeId) -> Result<bool, GraphError> {
    let Some((scores, v, zero_nan)) = found(graph, index, id) else { return Ok(false) };
    let (q, q_factor) = unscaled(graph, index, scores.q);
    let Some((k, layout, k_factor)) = keys(graph, index, &scores, q, v)? else { return Ok(false) };
    let (fill, mask) = match scores.mask {
        None => (f32::NEG_INFINITY, None),
        Some(Mask::Added(mask)) => (f32::NEG_INFINITY, Some(mask)),
        Some(Mask::Keeps { keeps, fill }) => (fill, Some(keeps)),
        Some(Mask::Hides { hides, fill }) => {
            let name = format!("{}.keeps", graph.nodes()[id.0].name);
            let not = Arc::new(Unary { kind: UnaryKind::Not });
            (fill, Some(graph.add_node(name, not, vec![Some(hides)])?))
        }
    };
    let op = Attention {
        scale: (scores.scale * q_factor * k_factor) as f32,
        layouts: [Layout::HeadsFirst, layout, Layout::HeadsFirst],
        output: Layout::HeadsFirst,
        fill,
        zero_nan,
    };
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(op);
    node.inputs = vec![Some(q), Some(k), Some(v)];
    node.inputs.extend(mask.map(Some));
    Ok(true)
}

/// Scores and values of the product `id`, and whether probabilities that are not numbers become 0; what lies between
/// serves no other purpose.
fn found(graph: &Graph, index: &Index, id: NodeId) -> Option<(Scores, ValueId, bool)> {
    let Product { a: p, b: v, trans_b: false, alpha: 1.0, added: None } = product(&graph.nodes()[id.0])?
    else {
        return None;
    };
    let (x, mut inner, zero_nan) = softmax(graph, index, p)?;
    let mut scores = scores(graph, index, x, DEPTH)?;
    inner.append(&mut scores.nodes);
    let private = |node: &NodeId| {
        graph.nodes()[node.0].outputs.iter().flatten().all(|&value| {
            let users = index.consumers(value);
            !index.is_output(value) && users.iter().all(|user| *user == id || inner.contains(user))
        })
    };
    let fits = inner.iter().all(private) && masks(graph, &scores, x);
    fits.then_some((scores, v, zero_nan))
}

fn dims(graph: &Graph, value: ValueId) -> Option<&[SymDim]> {
    graph.fact(value).as_tensor()?.shape.dims()
}

fn rank(graph: &Graph, value: ValueId) -> Option<usize> {
    graph.fact(value).as_tensor()?.shape.rank()
}

fn dtype(graph: &Graph, value: ValueId) -> Option<DType> {
    Some(graph.fact(value).as_tensor()?.dtype)
}

fn same(a: &[SymDim], b: &[SymDim]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

#[cfg(test)]
mod tests;
