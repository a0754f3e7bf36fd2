//! Indices that kernels read.

use inferrum_backend::Decline;
use inferrum_tensor::DType;

use crate::kernel::{Lowering, Operand, c_type};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/indices.cuh");

/// Lets a source call `position` for the elements of input `input`. Constant indices are checked here; `extents` are those of the
/// axes that they go along, one after the other. Others that are not on their axes fail the run, by [`fault`].
///
/// # Errors
/// Neither int32 nor int64; a constant index is not on its axis.
pub(crate) fn reading(
    template: Template,
    input: usize,
    extents: &[usize],
    lowering: &Lowering<'_>,
) -> Result<Template, Decline> {
    let dtype = lowering.dtype(input)?;
    let index = c_type(dtype).filter(|_| matches!(dtype, DType::I32 | DType::I64));
    let index = index.ok_or_else(|| Decline(format!("indices of {dtype}")))?;
    if lowering.constant(input).is_some() {
        for (index, &extent) in lowering.ints(input)?.into_iter().zip(extents.iter().cycle()) {
            let end = i64::try_from(extent).unwrap_or(i64::MAX);
            if !(-end..end).contains(&index) {
                return Err(Decline(format!("index {index} is out of range for an axis of {extent}")));
            }
        }
    }
    Ok(template.including(SOURCE).define("INDEX", index))
}

/// Where a kernel tells of indices that are not on their axes: nowhere, if they are constants.
pub(crate) fn fault(input: usize, lowering: &Lowering<'_>) -> Operand {
    if lowering.constant(input).is_some() { Operand::Nothing } else { Operand::Fault(input) }
}
