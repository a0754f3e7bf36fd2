//! Values that are dequantized only to be quantized again, in the same way, stay integers.
//!
//! Exact: `n scale / scale`, both rounded to f32, is off by less than half a step for every integer of up to 16 bits.

use std::sync::Arc;

use inferrum_graph::{Fact, Graph, GraphError, Node, NodeId, ValueId};
use inferrum_ops::concat::Concat;
use inferrum_ops::depth_to_space::{DepthToSpace, SpaceToDepth};
use inferrum_ops::expand::Expand;
use inferrum_ops::flatten::Flatten;
use inferrum_ops::gather::Gather;
use inferrum_ops::identity::Identity;
use inferrum_ops::quantize::{DequantizeLinear, QuantizeLinear};
use inferrum_ops::reshape::Reshape;
use inferrum_ops::slice::Slice;
use inferrum_ops::squeeze::Squeeze;
use inferrum_ops::tile::Tile;
use inferrum_ops::transpose::Transpose;
use inferrum_ops::unsqueeze::Unsqueeze;
use inferrum_tensor::DType;

use crate::Index;
use crate::index::operator;

/// Position of the scale among the inputs.
const SCALE: usize = 1;
/// Position of the zero point among the inputs.
const ZERO: usize = 2;
/// Most operators between the two.
const DEPTH: usize = 8;

/// `Quantize(Dequantize(x))` becomes `x`, and `Quantize(Move(Dequantize(x)))` becomes `Move(x)`, where both have the same
/// scale and zero point and `Move` only rearranges elements.
///
/// # Errors
/// None; the type is that of every pass.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let index = Index::new(graph);
    let ids = (0..graph.nodes().len()).map(NodeId);
    let count =
        ids.filter(|&id| undone(graph, &index, id).or_else(|| moved(graph, &index, id)).is_some()).count();
    graph.nodes_mut().retain(|node| node.outputs.iter().any(Option::is_some));
    Ok(count)
}

/// `Quantize(Dequantize(x))`.
fn undone(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
    let quantize = Quantize::of(graph, &graph.nodes()[id.0])?;
    let x = quantize.inverse(graph, index, quantize.input)?;
    let node = &mut graph.nodes_mut()[id.0];
    node.op = Arc::new(Identity);
    node.inputs = vec![Some(x)];
    Some(())
}

/// `Quantize(Move(Dequantize(x)))`, with one or more operators that move elements.
fn moved(graph: &mut Graph, index: &Index, id: NodeId) -> Option<()> {
    let quantize = Quantize::of(graph, &graph.nodes()[id.0])?;
    if !quantize.single || !matches!(quantize.dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16) {
        return None;
    }
    let mut chain = Chain::default();
    chain.follow(graph, index, &quantize, quantize.input, DEPTH)?;
    let (dtype, last) = (quantize.dtype, *chain.nodes.last()?);
    for (node, slot, x) in chain.sources {
        graph.nodes_mut()[node.0].inputs[slot] = Some(x);
    }
    for node in chain.nodes {
        let output = graph.nodes()[node.0].outputs[0]?;
        let shape = graph.fact(output).as_tensor()?.shape.clone();
        graph.value_mut(output).fact = Fact::tensor(dtype, shape);
    }
    let output = graph.nodes_mut()[id.0].outputs[0].take();
    graph.nodes_mut()[last.0].outputs[0] = output;
    Some(())
}

/// A quantization with known parameters.
struct Quantize<'a> {
    op: &'a QuantizeLinear,
    node: &'a Node,
    input: ValueId,
    dtype: DType,
    /// Whether all elements share one scale.
    single: bool,
}

impl Quantize<'_> {
    fn of<'a>(graph: &Graph, node: &'a Node) -> Option<Quantize<'a>> {
        let op = operator::<QuantizeLinear>(node)?;
        let &[Some(input), Some(scale), ..] = &node.inputs[..] else { return None };
        let scale = graph.constant(scale).filter(|scale| scale.dtype() == DType::F32)?;
        let dtype = graph.fact(node.outputs.first().copied().flatten()?).as_tensor()?.dtype;
        // Neither product nor quotient leaves the normal numbers.
        let fits = |scale: &f32| scale.is_normal() && (scale * 65536.0).is_finite();
        let exact = op.precision.is_none_or(|precision| precision == DType::F32)
            && matches!(dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I4 | DType::U4)
            && scale.as_slice::<f32>().ok()?.iter().all(fits);
        exact.then_some(Quantize { op, node, input, dtype, single: scale.len() == 1 })
    }

    /// What `value` is dequantized from, if in the same way.
    fn inverse(&self, graph: &Graph, index: &Index, value: ValueId) -> Option<ValueId> {
        let (_, node, op) = index.producer_of::<DequantizeLinear>(graph, value)?;
        let x = node.inputs.first().copied().flatten()?;
        let types = [x, value].map(|value| graph.fact(value).as_tensor().map(|tensor| tensor.dtype));
        let axes = self.single || (op.axis, op.block_size) == (self.op.axis, self.op.block_size);
        let parameters = [SCALE, ZERO].into_iter().all(|index| {
            let of = |node: &Node| node.inputs.get(index).copied().flatten();
            match (of(self.node), of(node)) {
                (None, None) => true,
                (Some(a), Some(b)) => a == b || equal_constants(graph, a, b, self.single),
                _ => false,
            }
        });
        (types == [Some(self.dtype), Some(DType::F32)] && axes && parameters).then_some(x)
    }
}

/// Whether two values are constants of the same elements; of one element where `single`, whatever their shapes.
fn equal_constants(graph: &Graph, a: ValueId, b: ValueId, single: bool) -> bool {
    let (Some(a), Some(b)) = (graph.constant(a), graph.constant(b)) else { return false };
    a.dtype() == b.dtype() && a.bytes() == b.bytes() && (single || a.shape() == b.shape())
}

/// The operators between dequantization and quantization.
#[derive(Default)]
struct Chain {
    /// In topological order.
    nodes: Vec<NodeId>,
    /// Which input of which node is to be which integers.
    sources: Vec<(NodeId, usize, ValueId)>,
}

impl Chain {
    /// Follows `value`, which the quantization or an operator of the chain takes, up to the dequantizations.
    fn follow(
        &mut self,
        graph: &Graph,
        index: &Index,
        quantize: &Quantize<'_>,
        value: ValueId,
        depth: usize,
    ) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        index.sole_consumer(value)?;
        let id = index.producer(value)?;
        let node = &graph.nodes()[id.0];
        for slot in 0..moves(node)? {
            let input = node.inputs[slot]?;
            match quantize.inverse(graph, index, input) {
                Some(x) => self.sources.push((id, slot, x)),
                None => self.follow(graph, index, quantize, input, depth)?,
            }
        }
        self.nodes.push(id);
        Some(())
    }
}

/// How many of the first inputs a node takes elements from, if it does no more than rearrange them.
fn moves(node: &Node) -> Option<usize> {
    if operator::<Concat>(node).is_some() {
        return Some(node.inputs.len());
    }
    let moves = operator::<Transpose>(node).is_some()
        || operator::<Reshape>(node).is_some()
        || operator::<Flatten>(node).is_some()
        || operator::<Squeeze>(node).is_some()
        || operator::<Unsqueeze>(node).is_some()
        || operator::<Slice>(node).is_some()
        || operator::<Gather>(node).is_some()
        || operator::<Expand>(node).is_some()
        || operator::<Tile>(node).is_some()
        || operator::<DepthToSpace>(node).is_some()
        || operator::<SpaceToDepth>(node).is_some();
    moves.then_some(1)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Builder, optimized};
    use inferrum_graph::{Attr, ValueId};
    use inferrum_tensor::Tensor;

    /// Scale and zero point.
    #[derive(Clone, Copy)]
    struct Params(ValueId, ValueId);

    fn params(b: &mut Builder, scale: f32, zero: u8) -> Params {
        Params(b.scalar(scale), b.0.add_constant(format!("zero{zero}"), Tensor::scalar(zero)))
    }

    fn quantize(b: &mut Builder, x: ValueId, Params(scale, zero): Params) -> ValueId {
        b.op("QuantizeLinear", &[], &[x, scale, zero])
    }

    fn dequantize(b: &mut Builder, x: ValueId, Params(scale, zero): Params) -> ValueId {
        b.op("DequantizeLinear", &[], &[x, scale, zero])
    }

    fn transpose(b: &mut Builder, x: ValueId) -> ValueId {
        b.op("Transpose", &[("perm", Attr::Ints(vec![1, 0]))], &[x])
    }

    #[test]
    fn a_quantization_that_undoes_a_dequantization_goes() {
        let mut b = Builder::new();
        let x = b.input(&[3, 17]);
        // Equal constants need not be one value.
        let (first, second) = (params(&mut b, 0.0071, 3), params(&mut b, 0.0071, 3));
        let q = quantize(&mut b, x, first);
        let y = dequantize(&mut b, q, first);
        let y = quantize(&mut b, y, second);
        let y = dequantize(&mut b, y, second);
        assert_eq!(optimized(b, y), ["QuantizeLinear", "DequantizeLinear"]);
    }

    #[test]
    fn every_integer_survives_every_scale() {
        for scale in [1e-30, 3.3e-5, 0.007_843_138, 0.1, 1.0, 0.3e7, 7e30f32] {
            for n in (-32768..=65535).map(|n| n as f32) {
                assert_eq!((n * scale / scale).round_ties_even(), n);
                assert_eq!((n * scale * (1.0 / scale)).round_ties_even(), n);
            }
        }
    }

    #[test]
    fn other_parameters_round_again() {
        for (scale, zero) in [(0.0072, 3), (0.0071, 4)] {
            let mut b = Builder::new();
            let x = b.input(&[3, 17]);
            let (first, second) = (params(&mut b, 0.0071, 3), params(&mut b, scale, zero));
            let y = quantize(&mut b, x, first);
            let y = dequantize(&mut b, y, first);
            let y = quantize(&mut b, y, second);
            let y = dequantize(&mut b, y, second);
            assert_eq!(optimized(b, y), ["QuantizeLinear", "Table", "DequantizeLinear"]);
        }
    }

    #[test]
    fn integers_are_moved_instead() {
        let mut b = Builder::new();
        let (x, z) = (b.input(&[3, 17]), b.input(&[5, 17]));
        let p = params(&mut b, 0.0071, 3);
        let parts = [x, z].map(|x| {
            let q = quantize(&mut b, x, p);
            dequantize(&mut b, q, p)
        });
        let part = transpose(&mut b, parts[0]);
        let part = transpose(&mut b, part);
        let (whole, back) = (b.ints(&[51]), b.ints(&[3, 17]));
        let part = b.op("Reshape", &[], &[part, whole]);
        let part = b.op("Reshape", &[], &[part, back]);
        let y = b.op("Concat", &[("axis", Attr::Int(0))], &[part, parts[1]]);
        let y = transpose(&mut b, y);
        let y = quantize(&mut b, y, p);
        let y = dequantize(&mut b, y, p);
        let left = optimized(b, y);
        assert_eq!(left.iter().filter(|op| *op == "QuantizeLinear").count(), 2, "{left:?}");
        assert_eq!(left.iter().filter(|op| *op == "DequantizeLinear").count(), 1, "{left:?}");
    }

    #[test]
    fn one_part_of_another_scale_keeps_all() {
        let mut b = Builder::new();
        let (x, z) = (b.input(&[3, 17]), b.input(&[5, 17]));
        let (p, other) = (params(&mut b, 0.0071, 3), params(&mut b, 0.008, 3));
        let parts = [(x, p), (z, other)].map(|(x, p)| {
            let q = quantize(&mut b, x, p);
            dequantize(&mut b, q, p)
        });
        let y = b.op("Concat", &[("axis", Attr::Int(0))], &parts);
        let y = quantize(&mut b, y, p);
        let y = dequantize(&mut b, y, p);
        assert_eq!(optimized(b, y).iter().filter(|op| *op == "QuantizeLinear").count(), 3);
    }

    #[test]
    fn a_moved_value_that_others_want_stays() {
        let mut b = Builder::new();
        let x = b.input(&[3, 17]);
        let p = params(&mut b, 0.0071, 3);
        let y = quantize(&mut b, x, p);
        let y = dequantize(&mut b, y, p);
        let moved = transpose(&mut b, y);
        let y = quantize(&mut b, moved, p);
        let y = dequantize(&mut b, y, p);
        let y = b.op("Mul", &[], &[y, moved]);
        assert_eq!(optimized(b, y).iter().filter(|op| *op == "QuantizeLinear").count(), 2);
    }

    #[test]
    fn what_computes_is_not_moved() {
        let mut b = Builder::new();
        let x = b.input(&[3, 17]);
        let p = params(&mut b, 0.0071, 3);
        let y = quantize(&mut b, x, p);
        let y = dequantize(&mut b, y, p);
        let y = b.op("Softmax", &[("axis", Attr::Int(-1))], &[y]);
        let y = quantize(&mut b, y, p);
        let y = dequantize(&mut b, y, p);
        assert_eq!(optimized(b, y).iter().filter(|op| *op == "QuantizeLinear").count(), 2);
    }
}
