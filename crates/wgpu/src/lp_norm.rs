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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::lp_norm;

    #[test]
    fn both_norms_along_every_axis() {
        agree_on(lp_norm::both_norms_along_every_axis(), Tolerance::CLOSE);
    }
}
