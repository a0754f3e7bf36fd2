//! `ConstantOfShape` of a shape that is known before the run.

use inferrum_backend::Decline;
use inferrum_ops::constant_of_shape::ConstantOfShape;

use crate::copies::{copy_type, element_bytes, repeated, words_of};
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/constant_of_shape.wgsl");

pub(crate) fn lower(op: &ConstantOfShape, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let count = lowering.output_shape(0)?.elements();
    let (value, bytes) = (words_of(&op.value)?, element_bytes(op.value.dtype())?);
    let mut params = vec![word(count)?];
    params.extend(&value);
    let shader = Template::new("constant_of_shape", SOURCE)
        .with("type", copy_type(bytes))
        .with("value", repeated(1, bytes, 1))
        .params(params.len())
        .build();
    Ok(Lowered::one("fill", Dispatch::over(count, shader, &[Operand::Output(0)], params)?))
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
