//! `Gather` of a single known index as a copy.

use inferrum_ops::gather::Gather;

use super::{Part, Parts};
use crate::{BoundNode, Decline};

/// One copy: a slice.
///
/// # Errors
/// There are several indices, or the index is no constant or out of range.
pub fn parts(op: &Gather, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let shape = bound.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let &[index] = &bound.ints(1)?[..] else { return Err(Decline("several indices".into())) };
    let end = i64::try_from(extent).unwrap_or(i64::MAX);
    if !(-end..end).contains(&index) {
        return Err(Decline(format!("index {index} is out of range")));
    }
    let start = index.rem_euclid(end) as isize * inner as isize;
    let copy = Part::gathered(&[outer, inner], start, &[(extent * inner) as isize, 1]);
    Ok(Parts { unread: &[1], ..copy.into() })
}
