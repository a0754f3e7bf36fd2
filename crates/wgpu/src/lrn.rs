//! `LRN` of f32.

use inferrum_backend::Decline;
use inferrum_ops::lrn::LRN;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::{FUNCTIONS, Template};

const SOURCE: &str = include_str!("../../../shaders/lrn.wgsl");

pub(crate) fn lower(op: &LRN, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[])?;
    let shape = lowering.shape(0)?;
    if shape.rank() < 2 {
        return Err(Decline(format!("an input of shape {shape}")));
    }
    let (_, channels, plane) = shape.split_at_axis(1);
    let before = (op.size - 1) / 2;
    let (before, after) = (before.min(channels), (op.size - before).min(channels));
    let mut params = words([shape.elements(), plane, channels, before, after])?;
    params.extend([op.alpha / op.size as f32, op.beta, op.bias].map(f32::to_bits));
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    let shader = Template::new("lrn", SOURCE)
        .including(FUNCTIONS)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .build();
    Ok(Lowered::one("lrn", Dispatch::over(shape.elements(), shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::lrn;

    #[test]
    fn neighbours_of_every_number() {
        agree_on(lrn::neighbours_of_every_number(), Tolerance { relative: 5e-5, absolute: 1e-5 });
    }
}
