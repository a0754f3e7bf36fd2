//! `BatchNormalization` of f32 by given moments.

use inferrum_backend::Decline;
use inferrum_ops::batch_norm::BatchNormalization;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/batch_norm.wgsl");

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
    let mut bindings = Bindings::default();
    for (input, name) in ["x", "scale", "bias", "mean", "variance"].into_iter().enumerate() {
        bindings.read(name, lowering.float(input)?, Operand::Input(input));
    }
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    let mut params = words([shape.elements(), plane, channels])?;
    params.push(op.epsilon.to_bits());
    let shader = Template::new("batch norm", SOURCE)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .build();
    Ok(Lowered::one("batch norm", Dispatch::over(shape.elements(), shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::batch_norm;

    #[test]
    fn channels_elements_and_vectors() {
        agree_on(batch_norm::channels_elements_and_vectors(), Tolerance { relative: 2e-5, absolute: 1e-4 });
    }
}
