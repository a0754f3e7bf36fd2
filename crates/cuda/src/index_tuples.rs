//! Tuples of indices, which name slices of a tensor.

use inferrum_backend::Decline;
use inferrum_tensor::Shape;

use crate::indices;
use crate::kernel::{Lowering, word, words};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/tuples.cuh");

/// Which slice a tuple names.
pub(crate) struct Tuples {
    /// Extent of each axis that a tuple indexes.
    extents: Vec<usize>,
    /// The struct `Tuples` (tuples.cuh).
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
        let indexed = Shape::from(data.get(batch_dims..end).ok_or_else(misfit)?);
        let batches = Shape::from(outer.get(..batch_dims).ok_or_else(misfit)?).elements();
        let per_batch = Shape::from(outer).elements().checked_div(batches).unwrap_or(0).max(1);
        let strides = indexed.strides();
        let numbers = [per_batch, indexed.elements()].into_iter();
        let words = words(numbers.chain(indexed.iter().copied()).chain(strides.iter().copied()))?;
        let run = Shape::from(&data[end..]).elements();
        // Positions in the data are words, too.
        word(data.elements())?;
        Ok(Tuples { extents: indexed.to_vec(), words, run })
    }

    /// Lets a source call `slice` of the struct `Tuples`.
    ///
    /// # Errors
    /// As [`indices::reading`].
    pub(crate) fn reading(&self, template: Template, lowering: &Lowering<'_>) -> Result<Template, Decline> {
        let template = indices::reading(template, 1, &self.extents, lowering)?;
        Ok(template.including(SOURCE).define("DEPTH", self.extents.len()))
    }
}
