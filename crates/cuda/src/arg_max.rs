//! `ArgMax`, `ArgMin` along any axis.

use inferrum_backend::Decline;
use inferrum_ops::arg_max::ArgReduce;
use inferrum_tensor::DType;

use crate::kernel::{Lowered, Lowering, Operand, c_type};
use crate::rows::Rows;
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/arg_max.cu");

pub(crate) fn lower(op: &ArgReduce, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    Operand::word(shape.elements())?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    if extent == 0 {
        return Err(Decline("an axis without elements".into()));
    }
    let count = outer.saturating_mul(inner);
    // Elements of 8 bytes are of a type that holds them all.
    let number = match dtype {
        DType::F16 | DType::BF16 | DType::F32 => "float",
        DType::F64 => "double",
        DType::U64 => "u64",
        DType::I64 => "i64",
        DType::U32 => "u32",
        _ => "i32",
    };
    let element = c_type(dtype).ok_or_else(|| Decline(format!("elements of {dtype}")))?;
    let rows = Rows::of(count, extent, inner, dtype.size().max(2), lowering.abilities);
    let source = rows
        .fill(Template::new("arg_max", SOURCE))
        .define("X", element)
        .define("E", number)
        .switch("GREATEST", op.greatest)
        .switch("LAST", op.select_last_index)
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Output(0),
        Operand::word(count)?,
        Operand::word(extent)?,
        Operand::word(inner)?,
    ];
    Ok(Lowered::one("arg max", rows.launch(source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::arg_max;

    #[test]
    fn along_every_axis() {
        agree_on(arg_max::along_every_axis(), Tolerance::EXACT);
    }

    #[test]
    fn nan_and_equals() {
        agree_on(arg_max::nan_and_equals(), Tolerance::EXACT);
    }

    #[test]
    fn integers_and_long_rows() {
        agree_on(arg_max::integers_and_long_rows(), Tolerance::EXACT);
    }
}
