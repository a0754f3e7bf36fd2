//! `Split` as copies.

use inferrum_ops::split::Split;

use super::{Part, Parts, Walk};
use crate::{BoundNode, Decline};

/// A copy for each output that is needed: a part of every row of the input.
///
/// # Errors
/// The axis is none, or the sizes are no constants or do not fit it.
pub fn parts(op: &Split, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let shape = bound.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let asked = bound.has(1).then(|| bound.ints(1)).transpose()?;
    let sizes = op.sizes(shape[axis], asked.as_deref()).map_err(|error| Decline(error.to_string()))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let row = (extent * inner) as isize;
    let mut begin = 0isize;
    let mut parts = Vec::new();
    for (output, size) in sizes.into_iter().enumerate() {
        let run = size * inner;
        if bound.wants(output) {
            parts.push(Part {
                input: 0,
                output,
                dims: vec![outer, run],
                source: Walk { start: begin, strides: vec![row, 1] },
                target: Walk { start: 0, strides: vec![run as isize, 1] },
            });
        }
        begin += run as isize;
    }
    Ok(Parts { parts, unread: &[1] })
}
