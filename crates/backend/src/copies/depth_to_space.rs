//! `DepthToSpace`, `SpaceToDepth` as a copy.

use std::any::Any;

use inferrum_graph::Operator;
use inferrum_ops::depth_to_space::{DepthToSpace, SpaceToDepth};
use inferrum_tensor::Shape;

use super::{Part, Parts};
use crate::{BoundNode, Decline, dense_strides};

/// One copy: with the blocks as axes of their own, the axes in another order.
///
/// # Errors
/// The input is no image.
pub fn parts<O: Operator>(op: &O, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let (shape, output) = (bound.shape(0)?, bound.output_shape(0)?);
    let (&[n, c, h, w], &[_, out_c, out_h, out_w]) = (shape.dims(), output.dims()) else {
        return Err(Decline("not an image".into()));
    };
    let any = op as &dyn Any;
    let (view, perm) = if let Some(op) = any.downcast_ref::<DepthToSpace>() {
        let b = op.block_size;
        if op.column_major {
            (Shape::from([n, out_c, b, b, h, w]), [0, 1, 4, 2, 5, 3])
        } else {
            (Shape::from([n, b, b, out_c, h, w]), [0, 3, 4, 1, 5, 2])
        }
    } else if let Some(op) = any.downcast_ref::<SpaceToDepth>() {
        let b = op.block_size;
        let perm = if op.column_major { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
        (Shape::from([n, c, out_h, b, out_w, b]), perm)
    } else {
        return Err(Decline("another operator".into()));
    };
    let strides = dense_strides(&view);
    Ok(Part::gathered(&perm.map(|axis| view[axis]), 0, &perm.map(|axis| strides[axis])).into())
}
