//! `LpNormalization` along any axis.

use inferrum_backend::Decline;
use inferrum_ops::lp_norm::LpNormalization;

use crate::kernel::{Lowered, Lowering, Operand};
use crate::rows::Rows;
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/lp_norm.cu");

pub(crate) fn lower(op: &LpNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    Operand::word(shape.elements())?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let count = outer.saturating_mul(inner);
    let rows = Rows::of(count, extent, inner, lowering.dtype(0)?.size(), lowering.abilities);
    let source = rows
        .fill(Template::new("lp_norm", SOURCE))
        .define("X", lowering.float(0)?)
        .define("Y", lowering.output_float(0)?)
        .switch("SQUARES", op.p != 1)
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Output(0),
        Operand::word(count)?,
        Operand::word(extent)?,
        Operand::word(inner)?,
    ];
    Ok(Lowered::one("lp norm", rows.launch(source, &operands)?))
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
