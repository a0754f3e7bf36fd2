//! `OneHot`.

use inferrum_backend::Decline;
use inferrum_ops::one_hot::OneHot;
use inferrum_tensor::DType;

use crate::copies::{copy_type, element_bytes};
use crate::indices;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::Template;
use crate::storage;

const SOURCE: &str = include_str!("../../../shaders/one_hot.wgsl");

pub(crate) fn lower(op: &OneHot, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (given, output) = (lowering.dtype(0)?, lowering.output_shape(0)?);
    // As an index of 32 or 64 bits; what has none of these becomes the least, which is on no axis.
    let (wide, as_index) = match given {
        DType::I64 => (true, "x"),
        DType::I8 | DType::I16 | DType::I32 => (false, "x"),
        DType::U8 | DType::U16 | DType::U32 => (false, "select(i32(x), -2147483647, x > 2147483647u)"),
        DType::F32 => (false, "select(-2147483647, i32(x), abs(x) < 2147483000.0)"),
        other => return Err(Decline(format!("indices of {other}"))),
    };
    let axis = op.new_axis(lowering.shape(0)?.rank()).map_err(|error| Decline(error.to_string()))?;
    let (_, depth, inner) = output.split_at_axis(axis);
    let params = words([output.elements(), depth, inner])?;
    let shader = indices::of_type(Template::new("one_hot", SOURCE).params(params.len()), wide)
        .with("given", storage::words(given).unwrap_or("i32"))
        .with("as_index", as_index)
        .with("type", copy_type(element_bytes(lowering.output_dtype(0)?)?))
        .build();
    let operands = [Operand::Input(0), Operand::Input(2), Operand::Output(0)];
    Ok(Lowered::one("one hot", Dispatch::over(output.elements(), shader, &operands, params)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, stored};
    use inferrum_backend::testing::one_hot;

    const INDICES: [DType; 6] = [DType::I64, DType::I32, DType::F32, DType::I8, DType::U8, DType::U32];

    #[test]
    fn every_axis() {
        agree_on(one_hot::every_axis(&INDICES, &stored()), Tolerance::EXACT);
    }

    #[test]
    fn indices_beyond_the_axis() {
        agree_on(one_hot::indices_beyond_the_axis(), Tolerance::EXACT);
    }
}
