//! What the layout pass knows of operators.

use std::any::Any;

use inferrum_graph::{Graph, Node, Operator};
use inferrum_ops::batch_norm::BatchNormalization;
use inferrum_ops::concat::Concat;
use inferrum_ops::conv::{Conv, FusedConv};
use inferrum_ops::conv_transpose::ConvTranspose;
use inferrum_ops::crop::Crop;
use inferrum_ops::expression;
use inferrum_ops::fused::elementwise::Elementwise;
use inferrum_ops::global_pool::GlobalPool;
use inferrum_ops::group_norm::GroupNormalization;
use inferrum_ops::instance_norm::InstanceNormalization;
use inferrum_ops::pad::Pad;
use inferrum_ops::pool::{AveragePool, MaxPool};
use inferrum_ops::quantize::{DequantizeLinear, QuantizeLinear};
use inferrum_ops::reduce::Reduce;
use inferrum_ops::resize::Resize;
use inferrum_ops::split::Split;
use inferrum_ops::transpose::Transpose;

use super::channels_last::is_image;

/// How an operator treats images.
pub(super) enum Role {
    /// It computes faster channels last; these inputs are images.
    Image { images: Vec<usize> },
    /// It has a kernel for either layout and takes what comes; these inputs are images.
    Follower { images: Vec<usize> },
    /// It treats each element alone.
    Elementwise,
    /// It concatenates along this axis.
    Concat(usize),
    /// It splits along this axis.
    Split(usize),
    /// It permutes the axes so.
    Transpose(Vec<usize>),
    /// It wants [N, C, spatial axes].
    Other,
}

/// How a node treats images.
pub(super) fn role(graph: &Graph, node: &Node) -> Role {
    let image = node.inputs.first().copied().flatten().is_some_and(|id| is_image(graph, id));
    let fact = node.inputs.first().copied().flatten().and_then(|id| graph.fact(id).as_tensor());
    let rank = fact.and_then(|tensor| tensor.shape.rank());
    let axis = |axis: i64| {
        let rank = rank? as i64;
        usize::try_from(if axis < 0 { axis + rank } else { axis }).ok().filter(|&axis| axis < rank as usize)
    };
    if let Some(conv) = downcast::<FusedConv>(node).filter(|_| image) {
        // Planar images are summed in the order asked for; see `conv::planar`.
        return if conv.ordered { Role::Other } else { Role::Image { images: vec![0, 3] } };
    }
    let convolves = downcast::<Conv>(node).is_some() || downcast::<ConvTranspose>(node).is_some();
    let pools = downcast::<MaxPool>(node).is_some_and(|pool| !pool.indices && node.outputs.len() == 1)
        || downcast::<AveragePool>(node).is_some();
    if image && (convolves || pools) {
        return Role::Image { images: vec![0] };
    }
    let follows = downcast::<GlobalPool>(node).is_some()
        || downcast::<BatchNormalization>(node).is_some_and(|norm| norm.training.is_none() && norm.spatial)
        || downcast::<Resize>(node).is_some()
        || downcast::<Pad>(node).is_some()
        || downcast::<Crop>(node).is_some()
        || downcast::<Reduce>(node).is_some_and(|reduce| reduce.keep_dims)
        || downcast::<InstanceNormalization>(node).is_some()
        || downcast::<GroupNormalization>(node).is_some();
    if image && follows {
        return Role::Follower { images: vec![0] };
    }
    if let Some(found) = downcast::<Concat>(node).filter(|_| image).and_then(|concat| axis(concat.axis)) {
        return Role::Concat(found);
    }
    if let Some(found) = downcast::<Split>(node).filter(|_| image).and_then(|split| axis(split.axis)) {
        return Role::Split(found);
    }
    if let Some(perm) = downcast::<Transpose>(node).and_then(|transpose| transpose.permutation(rank?).ok()) {
        return Role::Transpose(perm);
    }
    if quantizes_all_alike(graph, node) {
        return Role::Elementwise;
    }
    if expression(node.op.as_ref()).is_some() || downcast::<Elementwise>(node).is_some() {
        return Role::Elementwise;
    }
    Role::Other
}

/// Whether a node quantises or dequantises every element with one scale.
fn quantizes_all_alike(graph: &Graph, node: &Node) -> bool {
    let quantizes =
        downcast::<QuantizeLinear>(node).is_some() || downcast::<DequantizeLinear>(node).is_some();
    let scale = node.inputs.get(1).copied().flatten().and_then(|id| graph.fact(id).concrete_shape());
    quantizes && scale.is_some_and(|shape| shape.rank() <= 1 && shape.elements() == 1)
}

/// A node's operator, if it is a `T`.
pub(super) fn downcast<T: Operator>(node: &Node) -> Option<&T> {
    (node.op.as_ref() as &dyn Any).downcast_ref()
}
