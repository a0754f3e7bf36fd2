//! `Transpose` as a copy.

use inferrum_ops::transpose::Transpose;

use super::{Part, Parts};
use crate::{BoundNode, Decline, dense_strides};

/// One copy: the axes in another order.
///
/// # Errors
/// The permutation is none.
pub fn parts(op: &Transpose, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let shape = bound.shape(0)?;
    let perm = op.permutation(shape.rank()).map_err(|error| Decline(error.to_string()))?;
    let strides = dense_strides(&shape);
    let source: Vec<isize> = perm.iter().map(|&axis| strides[axis]).collect();
    let dims: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
    Ok(Part::gathered(&dims, 0, &source).into())
}
