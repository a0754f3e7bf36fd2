//! `Crop` as a copy.

use inferrum_ops::crop::Crop;

use super::{Part, Parts};
use crate::{BoundNode, Decline, dense_strides};

/// One copy.
///
/// # Errors
/// The input is no image, or nothing is left of it.
pub fn parts(op: &Crop, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    parts_in(op, &[0, 1, 2, 3], bound)
}

/// As [`parts`], of a tensor whose axes are laid out in another order: axis `i` is the operator's axis `order[i]`.
///
/// # Errors
/// As [`parts`].
pub fn parts_in(op: &Crop, order: &[usize], bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let (shape, output) = (bound.shape(0)?, bound.output_shape(0)?);
    if shape.rank() != 4 || order.len() != 4 || output.elements() == 0 {
        return Err(Decline(format!("an image of shape {shape}")));
    }
    let begins = [0, 0, op.border[1], op.border[0]];
    let strides = dense_strides(&shape);
    let start = order.iter().zip(&strides).map(|(&axis, stride)| begins[axis] as isize * stride).sum();
    Ok(Part::gathered(&output, start, &strides).into())
}
