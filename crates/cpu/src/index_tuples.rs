//! Tuples of indices, as `GatherND` and `ScatterND` take them: each names an element or a slice of a tensor.

use inferrum_graph::OpError;
use inferrum_tensor::Shape;
use smallvec::SmallVec;

use crate::indices::{Indices, out_of_range};

/// Which slice a tuple names.
pub(crate) struct Tuples {
    /// Extent and stride, in slices, of each axis that a tuple indexes.
    axes: SmallVec<[(usize, usize); 4]>,
    /// Tuples that share their batch.
    per_batch: usize,
    /// Slices of a batch.
    batch: usize,
    /// Number of tuples.
    pub(crate) count: usize,
    /// Elements of a slice.
    pub(crate) run: usize,
}

impl Tuples {
    /// Tuples of `indices`, `[*batch, *, K]`, into `data`, `[*batch, *]`. `None` if the shapes do not fit.
    pub(crate) fn new(data: &Shape, indices: &Shape, batch_dims: usize) -> Option<Tuples> {
        let (&depth, outer) = indices.split_last()?;
        let indexed = data.get(batch_dims..batch_dims.checked_add(depth)?)?;
        let run = Shape::from(&data[batch_dims + depth..]).elements();
        let batches = Shape::from(outer.get(..batch_dims)?).elements();
        let count = Shape::from(outer).elements();
        let strides = Shape::from(indexed).strides();
        Some(Tuples {
            axes: indexed.iter().copied().zip(strides).collect(),
            per_batch: count.checked_div(batches).unwrap_or(0).max(1),
            batch: Shape::from(indexed).elements(),
            count,
            run,
        })
    }

    /// Checks all indices (input `input`).
    ///
    /// # Errors
    /// The first that is not on its axis, or another number of indices than tuples need.
    pub(crate) fn check(&self, input: usize, indices: Indices<'_>) -> Result<(), OpError> {
        if indices.len() != self.count * self.axes.len() {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        for at in 0..indices.len() {
            let (extent, _) = self.axes[at % self.axes.len()];
            if indices.position(at, extent) >= extent {
                let index = match indices {
                    Indices::I32(indices) => i64::from(indices[at]),
                    Indices::I64(indices) => indices[at],
                };
                return Err(out_of_range(input, index, extent));
            }
        }
        Ok(())
    }

    /// The number of the slice that tuple `tuple` names, once checked.
    #[inline]
    pub(crate) fn slice(&self, indices: Indices<'_>, tuple: usize) -> usize {
        let first = tuple * self.axes.len();
        let within: usize = self
            .axes
            .iter()
            .enumerate()
            .map(|(i, &(extent, stride))| indices.position(first + i, extent) * stride)
            .sum();
        tuple / self.per_batch * self.batch + within
    }
}
