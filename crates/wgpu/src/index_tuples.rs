//! Tuples of indices, which name slices of a tensor.

use inferrum_backend::Decline;
use inferrum_tensor::Shape;

use crate::indices;
use crate::kernel::{Lowering, words};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/tuples.wgsl");

/// Which slice a tuple names.
pub(crate) struct Tuples {
    /// Extent of each axis that a tuple indexes.
    extents: Vec<usize>,
    /// The words that `tuples.wgsl` reads.
    pub(crate) words: Vec<u32>,
    /// Elements of a slice.
    pub(crate) run: usize,
}

impl Tuples {
    /// Tuples of input 1, `[*batch, *, K]`, into input 0, `[*batch, *]`.
    ///
    /// # Errors
    /// The shapes do not fit, or tuples are empty.
    pub(crate) fn new(batch_dims: usize, lowering: &Lowering<'_>) -> Result<Tuples, Decline> {
        let (data, indices) = (lowering.shape(0)?, lowering.shape(1)?);
        let misfit = || Decline("the indices do not fit the data".into());
        let (&depth, outer) = indices.split_last().ok_or_else(misfit)?;
        if depth == 0 {
            return Err(Decline("tuples of no indices".into()));
        }
        let end = batch_dims.checked_add(depth).ok_or_else(misfit)?;
        let indexed = data.get(batch_dims..end).ok_or_else(misfit)?;
        let batches = Shape::from(outer.get(..batch_dims).ok_or_else(misfit)?).elements();
        let count = Shape::from(outer).elements();
        let indexed = Shape::from(indexed);
        let per_batch = count.checked_div(batches).unwrap_or(0).max(1);
        let axes =
            indexed.iter().copied().zip(indexed.strides()).flat_map(|(extent, stride)| [extent, stride]);
        let words = words([per_batch, indexed.elements()].into_iter().chain(axes))?;
        let run = Shape::from(&data[end..]).elements();
        Ok(Tuples { extents: indexed.to_vec(), words, run })
    }

    /// Lets a source call `slice_of(tuple)`; the tuples are at binding 1.
    ///
    /// # Errors
    /// As [`indices::reading`].
    pub(crate) fn reading(&self, template: Template, lowering: &Lowering<'_>) -> Result<Template, Decline> {
        let template = indices::reading(template, 1, &self.extents, lowering)?;
        Ok(template.including(SOURCE).with("depth", self.extents.len()))
    }
}
