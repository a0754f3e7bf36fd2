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
    use super::*;
    use crate::testing::{Tolerance, agree, random};
    use inferrum_tensor::Tensor;

    fn every(x: &Tensor, axis: i64) {
        for greatest in [true, false] {
            for select_last_index in [true, false] {
                for keep_dims in [true, false] {
                    let op = ArgReduce { greatest, axis, keep_dims, select_last_index };
                    agree(op, std::slice::from_ref(x), Tolerance::EXACT);
                }
            }
        }
    }

    #[test]
    fn along_every_axis() {
        for (shape, axis) in [
            (&[17usize][..], 0),
            (&[3, 500], -1),
            (&[7, 90], 0),
            (&[2, 300, 20], 1),
            (&[5, 1], 1),
            (&[0, 3], 1),
        ] {
            every(&random(shape, 4), axis);
        }
    }

    #[test]
    fn nan_and_equals() {
        for length in [4, 70] {
            for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, -0.0] {
                let mut row = vec![if special == 0.0 { 0.0 } else { 1.0f32 }; length];
                (row[1], row[length - 1]) = (special, special);
                every(&Tensor::vector(row), 0);
            }
        }
    }
}
