//! Indices that a GPU reads.

use inferrum_backend::Decline;
use inferrum_tensor::DType;

use crate::kernel::{Lowering, Operand, word};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/indices.wgsl");

/// The function `tell`, for sources that bind `fault`.
pub(crate) const FAULT: &str = include_str!("../../../shaders/fault.wgsl");

/// Where kernels by index bind what they tell.
const FAULT_BINDING: usize = 4;

/// Lets a source call `position(index, extent)` for the elements of input `input`.
///
/// An index that is not on its axis fails the run, by [`fault`]; until then the kernel takes none of it. Constant indices are
/// checked here; `extents` are those of the axes that they go through, one after the other.
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
    if !matches!(dtype, DType::I32 | DType::I64) {
        return Err(Decline(format!("indices of {dtype}")));
    }
    if lowering.constant(input).is_some() {
        for (index, &extent) in lowering.ints(input)?.into_iter().zip(extents.iter().cycle()) {
            let end = i64::try_from(extent).unwrap_or(i64::MAX);
            if !(-end..end).contains(&index) {
                return Err(Decline(out_of_range(index, word(extent)?)));
            }
        }
    }
    let template = of_type(template, dtype == DType::I64);
    Ok(match fault(input, lowering) {
        Some(_) => template.including(FAULT).switch("faults", true).with("fault", FAULT_BINDING),
        None => template,
    })
}

/// The last operand of a kernel whose source [`reading`] made, unless its indices are constants; it has three others.
pub(crate) fn fault(input: usize, lowering: &Lowering<'_>) -> Option<Operand> {
    lowering.constant(input).is_none().then_some(Operand::Fault(input, out_of_range))
}

/// What is wrong with an index.
pub(crate) fn out_of_range(index: i64, extent: u32) -> String {
    format!("index {index} is out of range for an axis of {extent}")
}

/// Lets a source call `position(index, extent)` for indices of 32 bits, or of 64 if they are `wide`.
pub(crate) fn of_type(template: Template, wide: bool) -> Template {
    let index = if wide { "vec2<u32>" } else { "i32" };
    template.including(SOURCE).with("index", index).switch("wide", wide)
}
