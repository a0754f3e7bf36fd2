//! Scores, which are scaled and masked products of queries and keys, and the softmax over them.

use inferrum_graph::{Graph, Node, NodeId, SymDim, ValueId};
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::fused::linear::Linear;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::matmul::MatMul;
use inferrum_ops::select::Where;
use inferrum_ops::softmax::Softmax;
use inferrum_ops::unary::{Unary, UnaryKind};

use super::super::epilogue;
use super::{dims, rank};
use crate::Index;
use crate::index::operator;
use crate::pattern::scalar_constant;

/// Most operators between the softmax and the product of queries and keys.
pub(super) const DEPTH: usize = 4;

/// A product of two matrices, without anything else.
pub(super) struct Product {
    pub(super) a: ValueId,
    pub(super) b: ValueId,
    pub(super) trans_b: bool,
    pub(super) alpha: f64,
    /// What is added.
    pub(super) added: Option<ValueId>,
}

pub(super) fn product(node: &Node) -> Option<Product> {
    let (&Some(a), &Some(b)) = (node.inputs.first()?, node.inputs.get(1)?) else { return None };
    if operator::<MatMul>(node).is_some() {
        return Some(Product { a, b, trans_b: false, alpha: 1.0, added: None });
    }
    let fused = match operator::<Linear>(node) {
        Some(linear) if linear.activation.is_some() => return None,
        Some(linear) => &linear.product,
        None => operator::<FusedMatMul>(node)?,
    };
    if fused.trans_a || fused.trans_batch_a || fused.trans_batch_b {
        return None;
    }
    let mut added = node.inputs.iter().skip(2).copied().flatten();
    let (added, more) = (added.next(), added.next());
    more.is_none().then_some(Product { a, b, trans_b: fused.trans_b, alpha: f64::from(fused.alpha), added })
}

/// Scores as far as they are understood.
pub(super) struct Scores {
    pub(super) q: ValueId,
    /// Keys; transposed unless `rows`.
    pub(super) k: ValueId,
    pub(super) rows: bool,
    pub(super) scale: f64,
    pub(super) mask: Option<Mask>,
    /// The nodes that compute them.
    pub(super) nodes: Vec<NodeId>,
}

#[derive(Clone, Copy)]
pub(super) enum Mask {
    Added(ValueId),
    /// True keeps a score; otherwise it is `fill`.
    Keeps {
        keeps: ValueId,
        fill: f32,
    },
    /// True hides a score.
    Hides {
        hides: ValueId,
        fill: f32,
    },
}

impl Mask {
    fn value(self) -> ValueId {
        match self {
            Mask::Added(value) | Mask::Keeps { keeps: value, .. } | Mask::Hides { hides: value, .. } => value,
        }
    }
}

pub(super) fn scores(graph: &Graph, index: &Index, value: ValueId, depth: usize) -> Option<Scores> {
    let id = index.producer(value)?;
    let node = &graph.nodes()[id.0];
    if let Some(Product { a: q, b: k, trans_b: rows, alpha: scale, added }) = product(node) {
        return Some(Scores { q, k, rows, scale, mask: added.map(Mask::Added), nodes: vec![id] });
    }
    let inner = |value: ValueId| {
        let depth = depth.checked_sub(1)?;
        scores(graph, index, value, depth).filter(|scores| scores.mask.is_none())
    };
    let mut found = if operator::<Where>(node).is_some() {
        let &[Some(condition), Some(x), Some(y)] = &node.inputs[..] else { return None };
        let fill = |value| scalar_constant(graph, value).map(|fill| fill as f32).filter(|fill| *fill < 0.0);
        if let Some(fill) = fill(y) {
            Scores { mask: Some(Mask::Keeps { keeps: condition, fill }), ..inner(x)? }
        } else {
            Scores { mask: Some(Mask::Hides { hides: condition, fill: fill(x)? }), ..inner(y)? }
        }
    } else if epilogue::is_add(node) {
        let &[Some(a), Some(b)] = &node.inputs[..] else { return None };
        let (found, mask) = inner(a).map(|found| (found, b)).or_else(|| Some((inner(b)?, a)))?;
        Scores { mask: Some(Mask::Added(mask)), ..found }
    } else {
        let (x, factor) = scaled(graph, node)?;
        let found = inner(x)?;
        Scores { scale: found.scale * factor, ..found }
    };
    found.nodes.push(id);
    Some(found)
}

/// Of `x * c` or `x / c` with a constant: `x` and the factor.
fn scaled(graph: &Graph, node: &Node) -> Option<(ValueId, f64)> {
    let op = operator::<Binary>(node).filter(|op| op.axis.is_none())?;
    let &[Some(a), Some(b)] = &node.inputs[..] else { return None };
    let constant = |value: ValueId, other: ValueId| {
        // A constant of more axes would add some.
        scalar_constant(graph, value).filter(|_| rank(graph, value) <= rank(graph, other))
    };
    let (x, factor) = match op.kind {
        BinaryKind::Mul => constant(b, a).map(|c| (a, c)).or_else(|| Some((b, constant(a, b)?)))?,
        BinaryKind::Div => (a, 1.0 / constant(b, a)?),
        _ => return None,
    };
    factor.is_finite().then_some((x, factor))
}

/// `value` without a constant factor, and that.
pub(super) fn unscaled(graph: &Graph, index: &Index, value: ValueId) -> (ValueId, f64) {
    let found = index.producer(value).and_then(|id| scaled(graph, &graph.nodes()[id.0]));
    found.unwrap_or((value, 1.0))
}

/// `softmax(..)`, or `Where(IsNaN(p), 0, p)` of it: its input, the nodes, and whether there is this guard.
pub(super) fn softmax(graph: &Graph, index: &Index, value: ValueId) -> Option<(ValueId, Vec<NodeId>, bool)> {
    if let Some((guard, node, _)) = index.producer_of::<Where>(graph, value) {
        let &[Some(condition), Some(zero), Some(p)] = &node.inputs[..] else { return None };
        let (test, is_nan, op) = index.producer_of::<Unary>(graph, condition)?;
        let guards = op.kind == UnaryKind::IsNaN && is_nan.inputs.first() == Some(&Some(p));
        if !guards || scalar_constant(graph, zero) != Some(0.0) || rank(graph, zero) > rank(graph, p) {
            return None;
        }
        let (x, mut nodes, guarded) = softmax(graph, index, p)?;
        nodes.extend([guard, test]);
        return (!guarded).then_some((x, nodes, true));
    }
    let (id, node, op) = index.producer_of::<Softmax>(graph, value)?;
    let x = node.inputs.first().copied().flatten()?;
    let last = i64::try_from(rank(graph, x)?).ok()? - 1;
    (!op.log && (op.axis == -1 || op.axis == last)).then_some((x, vec![id], false))
}

/// Whether the mask, if there is one, is broadcast to the scores and not the other way round.
pub(super) fn masks(graph: &Graph, scores: &Scores, masked: ValueId) -> bool {
    let Some(mask) = scores.mask else { return true };
    let (q, k) = (dims(graph, scores.q), dims(graph, scores.k));
    let (Some(mask), Some(q), Some(k), Some(masked)) = (dims(graph, mask.value()), q, k, dims(graph, masked))
    else {
        return false;
    };
    let (Some((_, queries)), Some(keys)) = (q.split_last(), k.iter().rev().nth(usize::from(scores.rows)))
    else {
        return false;
    };
    let target: Vec<&SymDim> = queries.iter().chain([keys]).collect();
    let fits = |(mask, target): (&SymDim, &&SymDim)| mask.known() == Some(1) || mask.same(target);
    masked.len() == target.len()
        && mask.len() <= target.len()
        && mask.iter().rev().zip(target.iter().rev()).all(fits)
}
