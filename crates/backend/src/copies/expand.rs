//! `Expand` as a copy.

use inferrum_ops::expand::Expand;

use super::{Part, Parts};
use crate::{BoundNode, Decline, broadcast_strides};

/// One copy, which stays where it is along the axes that repeat.
///
/// # Errors
/// The shapes do not fit.
pub fn parts(_op: &Expand, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let (shape, output) = (bound.shape(0)?, bound.output_shape(0)?);
    let source = broadcast_strides(&output, &shape)
        .ok_or_else(|| Decline(format!("{shape} does not broadcast to {output}")))?;
    Ok(Parts { unread: &[1], ..Part::gathered(&output, 0, &source).into() })
}
