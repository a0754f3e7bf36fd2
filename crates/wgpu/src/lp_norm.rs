//! `LpNormalization` of f32 along any axis.

use inferrum_backend::Decline;
use inferrum_ops::lp_norm::LpNormalization;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand, words};
use crate::rows::Rows;
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/lp_norm.wgsl");

pub(crate) fn lower(op: &LpNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[])?;
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let count = outer.saturating_mul(inner);
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    let params = words([count, extent, inner])?;
    let rows = Rows::of(count, extent, inner == 1);
    let template = Template::new("lp norm", SOURCE).params(params.len());
    let shader = rows
        .fill(template, lowering.abilities)
        .with("buffers", bindings.declarations())
        .switch("squares", op.p != 1)
        .build();
    Ok(Lowered::one("lp norm", rows.dispatch(shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random};
    use inferrum_tensor::Tensor;

    #[test]
    fn both_norms_along_every_axis() {
        for p in [1, 2] {
            for (shape, axis) in
                [(&[17usize][..], 0), (&[3, 127], -1), (&[3, 127], 0), (&[2, 200, 5], 1), (&[0, 3], 1)]
            {
                agree(LpNormalization { axis, p }, &[random(shape, 1)], Tolerance::CLOSE);
            }
            agree(LpNormalization { axis: 0, p }, &[Tensor::vector(vec![0f32; 5])], Tolerance::EXACT);
        }
    }
}
