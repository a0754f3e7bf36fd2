//! What may follow a convolution or a matrix product inside the same kernel.

use inferrum_graph::{Graph, Node, Operator, ValueId};
use inferrum_ops::activation::Activation;
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::clip::Clip;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::unary::{Unary, UnaryKind};

use crate::Index;
use crate::index::operator;
use crate::pattern::scalar_constant;

/// The activation that a node applies, and to what, if a kernel can take it in.
pub(super) fn activation(graph: &Graph, node: &Node) -> Option<(ValueId, FusedActivation)> {
    let x = node.inputs.first().copied().flatten()?;
    let bound = |index: usize, default: f32| match node.inputs.get(index).copied().flatten() {
        None => Some(default),
        Some(bound) => scalar_constant(graph, bound).map(|bound| bound as f32),
    };
    let activation = if let Some(op) = operator::<Unary>(node) {
        match op.kind {
            UnaryKind::Relu => FusedActivation::Relu,
            UnaryKind::Sigmoid => FusedActivation::Sigmoid,
            UnaryKind::Tanh => FusedActivation::Tanh,
            UnaryKind::HardSwish => FusedActivation::HardSwish,
            _ => return None,
        }
    } else if let Some(op) = operator::<Activation>(node) {
        match *op {
            Activation::LeakyRelu { alpha } => FusedActivation::LeakyRelu { alpha },
            Activation::HardSigmoid { alpha, beta } => FusedActivation::HardSigmoid { alpha, beta },
            Activation::Swish { alpha: 1.0 } => FusedActivation::Silu,
            Activation::Gelu => FusedActivation::Gelu,
            Activation::GeluTanh => FusedActivation::GeluTanh,
            _ => return None,
        }
    } else if operator::<Clip>(node).is_some() {
        FusedActivation::Clip { min: bound(1, f32::MIN)?, max: bound(2, f32::MAX)? }
    } else {
        return None;
    };
    Some((x, activation))
}

/// Whether a node is an `Add` that broadcasts as NumPy does.
pub(super) fn is_add(node: &Node) -> bool {
    operator::<Binary>(node).is_some_and(|op| op.kind == BinaryKind::Add && op.axis.is_none())
}

/// Of a node with two operands: the one that a `T` gives to nobody else, and the other one.
pub(super) fn operands<T: Operator>(graph: &Graph, index: &Index, node: &Node) -> Option<(ValueId, ValueId)> {
    let &[Some(a), Some(b)] = &node.inputs[..] else { return None };
    let private = |value: ValueId| {
        let produced = index.producer_of::<T>(graph, value).is_some();
        produced && index.sole_consumer(value).is_some()
    };
    // The later of two is taken in, for the other must be there before it.
    let choices = [(a, b), (b, a)].into_iter().filter(|&(value, _)| private(value));
    choices.max_by_key(|&(value, _)| index.producer(value))
}

/// Whether two values are certainly of one shape.
pub(super) fn same_shape(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    let dims = |value: ValueId| graph.fact(value).as_tensor().and_then(|tensor| tensor.shape.dims());
    let (Some(a), Some(b)) = (dims(a), dims(b)) else { return false };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}
