//! `ConstantOfShape` of a shape that is known before the run.

use inferrum_backend::Decline;
use inferrum_ops::constant_of_shape::ConstantOfShape;

use crate::copies::{copy_type, element_bytes};
use crate::driver::Argument;
use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, word};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/constant_of_shape.cu");

/// Bytes that a thread writes together.
const TOGETHER: usize = 16;

pub(crate) fn lower(op: &ConstantOfShape, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let count = lowering.output_shape(0)?.elements();
    let bytes = element_bytes(op.value.dtype())?;
    let width = TOGETHER / bytes;
    word(count.saturating_add(BLOCK * width))?;
    let source = Template::new("constant_of_shape", SOURCE)
        .define("T", copy_type(bytes))
        .define("WIDTH", width)
        .build();
    let value = Operand::Value(Argument::of_bytes(&op.value.bytes().repeat(width)));
    let operands = [Operand::Output(0), value, Operand::word(count)?];
    Ok(Lowered::one("fill", Kernel::over(count.div_ceil(width), source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on, stored};
    use inferrum_backend::testing::constant_of_shape;

    #[test]
    fn every_rank() {
        agree_on(constant_of_shape::every_rank(&stored()), Tolerance::EXACT);
    }
}
