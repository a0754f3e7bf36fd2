//! `Tile` as a copy.

use inferrum_ops::tile::Tile;

use super::{Part, Parts};
use crate::{BoundNode, Decline, dense_strides};

/// One copy: each axis in two, which repeat it is and where in it.
///
/// # Errors
/// The repeats are no constants, or do not fit the axes.
pub fn parts(op: &Tile, bound: &BoundNode<'_>) -> Result<Parts, Decline> {
    let shape = bound.shape(0)?;
    let axis = bound.has(2).then(|| bound.ints(2)).transpose()?;
    let repeats = op
        .repeats(shape.rank(), &bound.ints(1)?, axis.as_deref())
        .map_err(|error| Decline(error.to_string()))?;
    let dims: Vec<usize> =
        repeats.iter().zip(shape.iter()).flat_map(|(&repeat, &extent)| [repeat, extent]).collect();
    let source: Vec<isize> = dense_strides(&shape).iter().flat_map(|&stride| [0, stride]).collect();
    Ok(Parts { unread: &[1, 2], ..Part::gathered(&dims, 0, &source).into() })
}
