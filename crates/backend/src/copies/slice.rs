//! `Slice` as a copy.

use inferrum_ops::slice::Slice;

use super::{Part, Parts};
use crate::{BoundNode, Decline, dense_strides};

/// One copy; steps of either sign are strides of either sign.
///
/// # Errors
/// The ranges are no constants, or impossible.
pub fn parts(op: &Slice, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let shape = bound.shape(0)?;
    let optional = |index: usize| bound.has(index).then(|| bound.ints(index)).transpose();
    let (axes, steps) = (optional(3)?, optional(4)?);
    let ranges = op
        .ranges(&shape, &bound.ints(1)?, &bound.ints(2)?, axes.as_deref(), steps.as_deref())
        .map_err(|error| Decline(error.to_string()))?;
    let strides = dense_strides(&shape);
    let dims: Vec<usize> = ranges.iter().map(|range| range.len).collect();
    // A range of nothing may begin behind the axis.
    let start = if dims.contains(&0) {
        0
    } else {
        ranges.iter().zip(&strides).map(|(range, stride)| range.start as isize * stride).sum()
    };
    let source: Vec<isize> = ranges
        .iter()
        .zip(&strides)
        .map(|(range, stride)| if range.len > 1 { range.step.saturating_mul(*stride) } else { 0 })
        .collect();
    Ok(Parts { unread: &[1, 2, 3, 4], ..Part::gathered(&dims, start, &source).into() })
}
