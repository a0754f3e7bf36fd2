//! Scaled dot-product attention that exporters spell out: `softmax(scale Q Kᵀ + mask) V` (<https://arxiv.org/abs/1706.03762>).

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, Node, NodeId, SymDim, ValueId};
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::expand::Expand;
use inferrum_ops::fused::attention::{Attention, Layout};
use inferrum_ops::fused::linear::Linear;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::matmul::MatMul;
use inferrum_ops::reshape::Reshape;
use inferrum_ops::select::Where;
use inferrum_ops::softmax::Softmax;
use inferrum_ops::transpose::Transpose;
use inferrum_ops::unary::{Unary, UnaryKind};
use inferrum_ops::unsqueeze::Unsqueeze;
use inferrum_tensor::{DType, Tensor};

use super::epilogue;
use crate::Index;
use crate::index::operator;
use crate::pattern::scalar_constant;

/// Most operators between the softmax and the product of queries and keys.
const DEPTH: usize = 4;

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

/// A product of two matrices, without anything else.
struct Product {
    a: ValueId,
    b: ValueId,
    trans_b: bool,
    alpha: f64,
    /// What is added.
    added: Option<ValueId>,
}

fn product(node: &Node) -> Option<Product> {
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
struct Scores {
    q: ValueId,
    /// Keys; transposed unless `rows`.
    k: ValueId,
    rows: bool,
    scale: f64,
    mask: Option<Mask>,
    /// The nodes that compute them.
    nodes: Vec<NodeId>,
}

#[derive(Clone, Copy)]
enum Mask {
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

fn scores(graph: &Graph, index: &Index, value: ValueId, depth: usize) -> Option<Scores> {
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
fn unscaled(graph: &Graph, index: &Index, value: ValueId) -> (ValueId, f64) {
    let found = index.producer(value).and_then(|id| scaled(graph, &graph.nodes()[id.0]));
    found.unwrap_or((value, 1.0))
}

/// `softmax(..)`, or `Where(IsNaN(p), 0, p)` of it: its input, the nodes, and whether there is this guard.
fn softmax(graph: &Graph, index: &Index, value: ValueId) -> Option<(ValueId, Vec<NodeId>, bool)> {
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

/// Whether the mask, if there is one, is broadcast to the scores and not the other way round.
fn masks(graph: &Graph, scores: &Scores, masked: ValueId) -> bool {
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

/// The keys as rows, in which layout, and their factor; if queries `q`, keys and values `v` are of one kind.
fn keys(
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

fn layout_of(perm: &[usize]) -> Option<Layout> {
    Layout::ALL.into_iter().find(|layout| layout.axes() == perm)
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

/// `Reshape(Transpose(source))`, which has three axes, to four of these extents.
struct Stack {
    source: ValueId,
    perm: [usize; 3],
    dims: Vec<SymDim>,
}

/// The stack of matrices that `value` is, which only gives the leading axis two.
fn stack(graph: &Graph, index: &Index, value: ValueId) -> Option<Stack> {
    let (_, outer, _) = index.producer_of::<Reshape>(graph, value)?;
    let transposed = outer.inputs.first().copied().flatten()?;
    let (_, node, op) = index.producer_of::<Transpose>(graph, transposed)?;
    let perm = <[usize; 3]>::try_from(op.permutation(rank(graph, transposed)?).ok()?).ok()?;
    let (three, four) = (dims(graph, transposed)?, dims(graph, value)?);
    let fits = four.len() == 4 && same(&three[1..], &four[2..]);
    fits.then_some(Stack { source: node.inputs.first().copied().flatten()?, perm, dims: four.to_vec() })
}

/// The target of a `Reshape` to these extents, of which one may be open.
fn target(dims: &[SymDim]) -> Option<Vec<i64>> {
    if dims.iter().filter(|dim| dim.known().is_none()).count() > 1 || dims.contains(&SymDim::Known(0)) {
        return None;
    }
    let extents = dims.iter().map(|dim| dim.known().map_or(Ok(-1), i64::try_from));
    extents.collect::<Result<_, _>>().ok()
}

fn reshape(graph: &mut Graph, name: &str, x: ValueId, target: Vec<i64>) -> Result<ValueId, GraphError> {
    let target = graph.add_constant(format!("{name}.shape"), Tensor::vector(target));
    let op = Arc::new(Reshape { allow_zero: true });
    Ok(graph.add_node(name, op, vec![Some(x), Some(target)])?)
}

/// An operand `[length, batch * heads, width]` that is transposed before it gets four axes.
fn stacked_operand(graph: &mut Graph, index: &Index, id: NodeId, operand: usize) -> Result<bool, GraphError> {
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
fn transposed_operand(graph: &mut Graph, index: &Index, id: NodeId, operand: usize) -> Option<()> {
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
fn transposed_output(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
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

/// Keys and values of which each head is repeated, for the queries that share it (<https://arxiv.org/abs/2305.13245>).
fn shared_heads(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{Builder, optimized};
    use inferrum_graph::{Attr, ValueId};
    use inferrum_tensor::{DType, Tensor};

    fn transpose(b: &mut Builder, perm: &[i64], x: ValueId) -> ValueId {
        b.op("Transpose", &[("perm", Attr::Ints(perm.to_vec()))], &[x])
    }

    fn softmax(b: &mut Builder, x: ValueId) -> ValueId {
        b.op("Softmax", &[("axis", Attr::Int(-1))], &[x])
    }

    fn bools(b: &mut Builder, shape: &[usize]) -> ValueId {
        let elements = shape.iter().product();
        let tensor = Tensor::from_vec(shape, (0..elements).map(|i: usize| i % 3 != 1).collect::<Vec<bool>>());
        b.0.add_constant("mask", tensor.unwrap())
    }

    fn is_one(left: &[String]) {
        assert_eq!(left, ["Attention"]);
    }

    fn is_none(left: &[String]) {
        assert!(!left.contains(&"Attention".to_owned()), "{left:?}");
    }

    #[test]
    fn bert_with_heads_split_and_merged() {
        let mut b = Builder::new();
        let [q, k, v] = [3, 5, 5].map(|len| b.input(&[2, len, 4, 8]));
        let mask = b.input(&[2, 1, 1, 5]);
        let q = transpose(&mut b, &[0, 2, 1, 3], q);
        let k = transpose(&mut b, &[0, 2, 3, 1], k);
        let v = transpose(&mut b, &[0, 2, 1, 3], v);
        let s = b.op("MatMul", &[], &[q, k]);
        let root = b.scalar(2.5);
        let s = b.op("Div", &[], &[s, root]);
        let s = b.op("Add", &[], &[s, mask]);
        let p = softmax(&mut b, s);
        let y = b.op("MatMul", &[], &[p, v]);
        let y = transpose(&mut b, &[0, 2, 1, 3], y);
        is_one(&optimized(b, y));
    }

    #[test]
    fn torch_with_scaled_operands_and_a_stack_of_keys() {
        for guarded in [false, true] {
            let mut b = Builder::new();
            let [q, k, v] = [3, 5, 5].map(|len| b.input(&[2, 4, len, 8]));
            let (root, zero) = (b.scalar(0.6), b.scalar(0.0));
            let q = b.op("Mul", &[], &[q, root]);
            let (stack, columns) = (b.ints(&[-1, 5, 8]), b.ints(&[2, 4, 8, 5]));
            let k = b.op("Reshape", &[], &[k, stack]);
            let k = transpose(&mut b, &[0, 2, 1], k);
            let k = b.op("Reshape", &[], &[k, columns]);
            let k = b.op("Mul", &[], &[k, root]);
            let s = b.op("MatMul", &[], &[q, k]);
            let mut p = softmax(&mut b, s);
            if guarded {
                let test = b.op("IsNaN", &[], &[p]);
                p = b.op("Where", &[], &[test, zero, p]);
            }
            let y = b.op("MatMul", &[], &[p, v]);
            is_one(&optimized(b, y));
        }
    }

    #[test]
    fn torch_with_the_length_outermost() {
        let mut b = Builder::new();
        let [mut q, mut k, v] = [3, 5, 5].map(|len| {
            let x = b.input(&[len, 8, 8]);
            let x = transpose(&mut b, &[1, 0, 2], x);
            let four = b.ints(&[2, 4, len as i64, 8]);
            b.op("Reshape", &[], &[x, four])
        });
        let root = b.scalar(0.6);
        let (stack, columns) = (b.ints(&[-1, 5, 8]), b.ints(&[2, 4, 8, 5]));
        k = b.op("Reshape", &[], &[k, stack]);
        k = transpose(&mut b, &[0, 2, 1], k);
        k = b.op("Reshape", &[], &[k, columns]);
        k = b.op("Mul", &[], &[k, root]);
        q = b.op("Mul", &[], &[q, root]);
        let s = b.op("MatMul", &[], &[q, k]);
        let p = softmax(&mut b, s);
        let y = b.op("MatMul", &[], &[p, v]);
        let y = transpose(&mut b, &[2, 0, 1, 3], y);
        assert_eq!(optimized(b, y), ["Reshape", "Reshape", "Reshape", "Attention"]);
    }

    #[test]
    fn masks_that_choose() {
        for (inverted, shape) in [(false, &[1, 1, 3, 5][..]), (true, &[5])] {
            let mut b = Builder::new();
            let [q, k, v] = [3, 5, 5].map(|len| b.input(&[2, 4, len, 8]));
            let mask = bools(&mut b, shape);
            let k = transpose(&mut b, &[0, 1, 3, 2], k);
            let s = b.op("MatMul", &[], &[q, k]);
            let (scale, hidden) = (b.scalar(0.3), b.scalar(-1e9));
            let s = b.op("Mul", &[], &[scale, s]);
            let operands = if inverted { [mask, hidden, s] } else { [mask, s, hidden] };
            let s = b.op("Where", &[], &operands);
            let p = softmax(&mut b, s);
            let y = b.op("MatMul", &[], &[p, v]);
            is_one(&optimized(b, y));
        }
    }

    #[test]
    fn three_axes_and_an_addend_of_every_score() {
        let mut b = Builder::new();
        let [q, k, v] = [3, 5, 5].map(|len| b.input(&[6, len, 8]));
        let added = b.input(&[6, 3, 5]);
        let k = transpose(&mut b, &[0, 2, 1], k);
        let s = b.op("MatMul", &[], &[q, k]);
        let s = b.op("Add", &[], &[added, s]);
        let p = softmax(&mut b, s);
        let y = b.op("MatMul", &[], &[p, v]);
        is_one(&optimized(b, y));
    }

    #[test]
    fn heads_that_queries_share() {
        let mut b = Builder::new();
        let q = b.input(&[2, 6, 3, 8]);
        let mut repeated = [0, 1].map(|_| {
            let x = b.input(&[2, 2, 5, 8]);
            let (axis, five, four) = (b.ints(&[2]), b.ints(&[2, 2, 3, 5, 8]), b.ints(&[2, 6, 5, 8]));
            let x = b.op("Unsqueeze", &[], &[x, axis]);
            let x = b.op("Expand", &[], &[x, five]);
            b.op("Reshape", &[], &[x, four])
        });
        repeated[0] = transpose(&mut b, &[0, 1, 3, 2], repeated[0]);
        let s = b.op("MatMul", &[], &[q, repeated[0]]);
        let p = softmax(&mut b, s);
        let y = b.op("MatMul", &[], &[p, repeated[1]]);
        is_one(&optimized(b, y));
    }

    /// Attention, of which `change` may alter the scores.
    fn plain(change: impl FnOnce(&mut Builder, ValueId) -> ValueId, axis: i64) -> (Builder, ValueId) {
        let mut b = Builder::new();
        let [q, k, v] = [5, 5, 5].map(|len| b.input(&[2, 4, len, 8]));
        let k = transpose(&mut b, &[0, 1, 3, 2], k);
        let s = b.op("MatMul", &[], &[q, k]);
        let s = change(&mut b, s);
        let p = b.op("Softmax", &[("axis", Attr::Int(axis))], &[s]);
        let y = b.op("MatMul", &[], &[p, v]);
        (b, y)
    }

    #[test]
    fn what_is_not_attention_stays() {
        let (b, y) = plain(|_, s| s, -1);
        is_one(&optimized(b, y));
        let (b, y) = plain(|_, s| s, -2);
        is_none(&optimized(b, y));
        let (b, y) = plain(|b, s| b.op("Relu", &[], &[s]), -1);
        is_none(&optimized(b, y));
        // A factor of a mask.
        let scaled_mask = |b: &mut Builder, s| {
            let (mask, two) = (b.constant(&[5, 5], 9), b.scalar(2.0));
            let s = b.op("Add", &[], &[s, mask]);
            b.op("Mul", &[], &[s, two])
        };
        let (b, y) = plain(scaled_mask, -1);
        is_none(&optimized(b, y));
        // A score that is hidden by a number that does not hide.
        let kept = |b: &mut Builder, s| {
            let (mask, one) = (bools(b, &[5, 5]), b.scalar(1.0));
            b.op("Where", &[], &[mask, s, one])
        };
        let (b, y) = plain(kept, -1);
        is_none(&optimized(b, y));
        // A mask of more axes than the scores.
        let wider = |b: &mut Builder, s| {
            let mask = b.constant(&[2, 1, 1, 5, 5], 9);
            b.op("Add", &[], &[s, mask])
        };
        let (b, y) = plain(wider, -1);
        is_none(&optimized(b, y));
    }

    #[test]
    fn scores_and_probabilities_that_others_want_stay() {
        for wants_scores in [false, true] {
            let mut b = Builder::new();
            let [q, k, v] = [5, 5, 5].map(|len| b.input(&[2, len, 5]));
            let k = transpose(&mut b, &[0, 2, 1], k);
            let s = b.op("MatMul", &[], &[q, k]);
            let p = softmax(&mut b, s);
            let y = b.op("MatMul", &[], &[p, v]);
            let y = b.op("Add", &[], &[y, if wants_scores { s } else { p }]);
            is_none(&optimized(b, y));
        }
    }

    #[test]
    fn shapes_that_are_broadcast_stay() {
        let mut b = Builder::new();
        let (q, k, v) = (b.input(&[2, 4, 3, 8]), b.input(&[1, 4, 8, 5]), b.input(&[2, 4, 5, 8]));
        let s = b.op("MatMul", &[], &[q, k]);
        let p = softmax(&mut b, s);
        let y = b.op("MatMul", &[], &[p, v]);
        is_none(&optimized(b, y));
    }

    #[test]
    fn half_precision_stays_half() {
        let mut b = Builder::new();
        let [q, k, v] = [3, 5, 5].map(|len| {
            let x = b.input(&[4, len, 8]);
            b.op("Cast", &[("to", Attr::Int(10))], &[x])
        });
        let k = transpose(&mut b, &[0, 2, 1], k);
        let s = b.op("MatMul", &[], &[q, k]);
        let p = softmax(&mut b, s);
        let y = b.op("MatMul", &[], &[p, v]);
        b.0.outputs = vec![y];
        let (graph, _) = crate::optimize(b.0).unwrap();
        assert_eq!(graph.nodes().last().unwrap().op.key().op_type, "Attention");
        assert_eq!(graph.fact(graph.outputs[0]).as_tensor().unwrap().dtype, DType::F16);
    }
}
