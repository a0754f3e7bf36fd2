//! `ArgMax`, `ArgMin` of f32 along any axis.

use inferrum_backend::Decline;
use inferrum_ops::arg_max::ArgReduce;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand, words};
use crate::rows::Rows;
use crate::shader::{FUNCTIONS, Template};

const SOURCE: &str = include_str!("../../../shaders/arg_max.wgsl");

pub(crate) fn lower(op: &ArgReduce, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[])?;
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    if extent == 0 {
        return Err(Decline("an axis without elements".into()));
    }
    let count = outer.saturating_mul(inner);
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    bindings.write("y", "vec2<u32>", Operand::Output(0));
    let params = words([count, extent, inner])?;
    let rows = Rows::of(count, extent, inner == 1);
    let template = Template::new("arg max", SOURCE).including(FUNCTIONS).params(params.len());
    let shader = rows
        .fill(template, lowering.abilities)
        .with("buffers", bindings.declarations())
        .switch("greatest", op.greatest)
        .switch("last", op.select_last_index)
        .build();
    Ok(Lowered::one("arg max", rows.dispatch(shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::arg_max;

    #[test]
    fn along_every_axis() {
        agree_on(arg_max::along_every_axis(), Tolerance::EXACT);
    }

    #[test]
    fn nan_and_equals() {
        agree_on(arg_max::nan_and_equals(), Tolerance::EXACT);
    }
}
