//! `OneHot`.

use inferrum_backend::Decline;
use inferrum_ops::one_hot::OneHot;

use crate::copies::{copy_type, element_bytes};
use crate::elementwise::FUNCTIONS;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, c_type, float_type};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/one_hot.cu");

pub(crate) fn lower(op: &OneHot, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (given, output) = (lowering.dtype(0)?, lowering.output_shape(0)?);
    let x = c_type(given).ok_or_else(|| Decline(format!("indices of {given}")))?;
    let axis = op.new_axis(lowering.shape(0)?.rank()).map_err(|error| Decline(error.to_string()))?;
    let (_, depth, inner) = output.split_at_axis(axis);
    let source = Template::new("one_hot", SOURCE)
        .including(FUNCTIONS)
        .define("X", x)
        // Floats of 16 bits are read as wider ones.
        .define("WIDE", float_type(given).map_or(x, |_| "float"))
        .define("T", copy_type(element_bytes(lowering.output_dtype(0)?)?))
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Input(2),
        Operand::Output(0),
        Operand::word(output.elements())?,
        Operand::word(depth)?,
        Operand::word(inner)?,
    ];
    Ok(Lowered::one("one hot", Kernel::over(output.elements(), source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on, stored};
    use inferrum_backend::testing::one_hot;
    use inferrum_tensor::DType;

    const INDICES: [DType; 9] = [
        DType::I64,
        DType::I32,
        DType::F32,
        DType::I8,
        DType::U8,
        DType::U32,
        DType::F16,
        DType::F64,
        DType::U64,
    ];

    #[test]
    fn every_axis() {
        agree_on(one_hot::every_axis(&INDICES, &stored()), Tolerance::EXACT);
    }

    #[test]
    fn indices_beyond_the_axis() {
        agree_on(one_hot::indices_beyond_the_axis(), Tolerance::EXACT);
    }
}
