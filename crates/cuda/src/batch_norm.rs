//! `BatchNormalization` by given moments.

use inferrum_backend::Decline;
use inferrum_ops::batch_norm::BatchNormalization;

use crate::kernel::{Kernel, Lowered, Lowering, Operand};
use crate::rows::width;
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/batch_norm.cu");

pub(crate) fn lower(op: &BatchNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[])?;
    if op.training.is_some() {
        return Err(Decline("training".into()));
    }
    let shape = lowering.shape(0)?;
    let (channels, plane) = match shape.dims() {
        [] | [_] => (1, 1),
        [_, rest @ ..] if !op.spatial => (rest.iter().product(), 1),
        [_, channels, rest @ ..] => (*channels, rest.iter().product()),
    };
    let elements = shape.elements();
    let width = width(lowering.dtype(0)?.size(), |factor| elements.is_multiple_of(factor));
    // Scale and bias are of one type, and so are the moments.
    let source = Template::new("batch_norm", SOURCE)
        .define("X", lowering.float(0)?)
        .define("S", lowering.float(1)?)
        .define("M", lowering.float(3)?)
        .define("Y", lowering.output_float(0)?)
        .define("WIDTH", width)
        .switch("ALIKE", plane.is_multiple_of(width))
        .build();
    let mut operands: Vec<Operand> = (0..5).map(Operand::Input).collect();
    operands.extend([
        Operand::Output(0),
        Operand::word(elements)?,
        Operand::word(plane)?,
        Operand::word(channels)?,
        Operand::float(op.epsilon),
    ]);
    Ok(Lowered::one("batch norm", Kernel::over(elements / width, source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::batch_norm;

    #[test]
    fn channels_elements_and_vectors() {
        let close = Tolerance { relative: 2e-5, absolute: 1e-4 };
        agree_on(batch_norm::channels_elements_and_vectors(), close);
    }
}
