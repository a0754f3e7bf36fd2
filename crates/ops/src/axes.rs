//! Axes: negative ones count from the end, and a list names each at most once.

use inferrum_graph::OpError;

/// Attribute `axis` as an index below `rank`.
///
/// # Errors
/// [`OpError::Attribute`] when it is out of range.
pub(crate) fn axis_attr(axis: i64, rank: usize) -> Result<usize, OpError> {
    index_below(axis, rank)
        .ok_or_else(|| OpError::attribute("axis", format!("an axis of the input's {rank} dimensions"), axis))
}

/// The axes that input `index` lists, as indices below `rank`, in their order.
///
/// # Errors
/// [`OpError::Value`] when one is out of range or listed twice.
pub(crate) fn axes_input(index: usize, axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut listed = vec![false; rank];
    axes.iter()
        .map(|&axis| {
            let found = index_below(axis, rank).ok_or_else(|| {
                OpError::value(index, format!("axis {axis} is out of range for {rank} dimensions"))
            })?;
            if std::mem::replace(&mut listed[found], true) {
                return Err(OpError::value(index, format!("axis {axis} is listed twice in {axes:?}")));
            }
            Ok(found)
        })
        .collect()
}

/// An axis (negative counts from the end) as an index below `rank`, if it is one.
pub(crate) fn index_below(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let index = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (0..rank).contains(&index).then_some(index as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_counted_from_either_end_once() {
        assert_eq!(axes_input(1, &[-1, 0], 3).unwrap(), [2, 0]);
        assert!(axes_input(1, &[2, -1], 3).is_err());
        assert!(axes_input(1, &[3], 3).is_err());
        assert!(axes_input(1, &[i64::MIN], 3).is_err());
        assert_eq!(axis_attr(-2, 2).unwrap(), 0);
        assert!(axis_attr(0, 0).is_err());
    }
}
