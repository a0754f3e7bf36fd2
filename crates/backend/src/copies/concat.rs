//! `Concat` as copies.

use inferrum_ops::concat::Concat;

use super::{Part, Parts, Walk};
use crate::{BoundNode, Decline};

/// A copy for each input: a part of every row of the output.
///
/// # Errors
/// The axis is none.
pub fn parts(op: &Concat, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let output = bound.output_shape(0)?;
    let axis = output.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = output.split_at_axis(axis);
    let row = (extent * inner) as isize;
    let mut begin = 0isize;
    let mut parts = Vec::new();
    for input in 0..bound.inputs.len() {
        let run = bound.shape(input)?[axis] * inner;
        parts.push(Part {
            input,
            output: 0,
            dims: vec![outer, run],
            source: Walk { start: 0, strides: vec![run as isize, 1] },
            target: Walk { start: begin, strides: vec![row, 1] },
        });
        begin += run as isize;
    }
    Ok(Parts { parts, unread: &[] })
}
