//! Index tensors of int32 or int64, as operators take them: negative ones count from the end.

use inferrum_graph::OpError;
use inferrum_tensor::DType;

use crate::kernel::{Io, View};

/// The elements of an index tensor.
#[derive(Clone, Copy)]
pub(crate) enum Indices<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    /// Input `input` of a run.
    ///
    /// # Errors
    /// It is not there, or neither int32 nor int64.
    pub(crate) fn input(io: &Io<'a>, input: usize) -> Result<Indices<'a>, OpError> {
        let view: View<'a> = io.view(input).ok_or(OpError::MissingInput { index: input })?;
        match view.dtype {
            DType::I32 => view.as_slice().map(Indices::I32),
            DType::I64 => view.as_slice().map(Indices::I64),
            got => Err(OpError::dtype(input, "int32 or int64", got)),
        }
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Indices::I32(indices) => indices.len(),
            Indices::I64(indices) => indices.len(),
        }
    }

    /// Checks that all of these indices (input `input`) are on an axis of `extent`.
    ///
    /// # Errors
    /// The first that is not.
    pub(crate) fn check(self, input: usize, extent: usize) -> Result<(), OpError> {
        // An extent beyond i64 has every index.
        let end = i64::try_from(extent).unwrap_or(i64::MAX);
        let wrong = |index: i64| index < -end || index >= end;
        let found = match self {
            Indices::I32(indices) => {
                indices.iter().map(|&index| i64::from(index)).find(|&index| wrong(index))
            }
            Indices::I64(indices) => indices.iter().copied().find(|&index| wrong(index)),
        };
        found.map_or(Ok(()), |index| Err(out_of_range(input, index, extent)))
    }

    /// The position that index `at` means on an axis of `extent`; meaningless unless it is on the axis.
    #[inline(always)]
    pub(crate) fn position(self, at: usize, extent: usize) -> usize {
        let index = match self {
            Indices::I32(indices) => indices[at] as isize,
            Indices::I64(indices) => indices[at] as isize,
        };
        if index < 0 { index.wrapping_add_unsigned(extent) as usize } else { index as usize }
    }
}

/// The error of an index that is not on its axis.
pub(crate) fn out_of_range(input: usize, index: i64, extent: usize) -> OpError {
    OpError::value(input, format!("index {index} is out of range for an axis of {extent}"))
}
