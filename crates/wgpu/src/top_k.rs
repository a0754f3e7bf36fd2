//! `TopK` of f32 for a constant, small k: one after the other.

use inferrum_backend::Decline;
use inferrum_ops::top_k::TopK;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand, words};
use crate::rows::Rows;
use crate::shader::{FUNCTIONS, Template};

const SOURCE: &str = include_str!("../../../shaders/top_k.wgsl");

/// Each further element is another walk through its row.
const MOST: usize = 1024;

pub(crate) fn lower(op: &TopK, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[1])?;
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let k = TopK::count(&lowering.ints(1)?, Some(extent)).map_err(|error| Decline(error.to_string()))?;
    if k > MOST {
        return Err(Decline(format!("the first {k} elements, the kernel takes {MOST}")));
    }
    let count = outer.saturating_mul(inner);
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    let (values, indices) = (lowering.wants(0), lowering.wants(1));
    if values {
        bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    }
    if indices {
        bindings.write("indices", "vec2<u32>", Operand::Output(1));
    }
    let params = words([count, extent, inner, k])?;
    let rows = Rows::of(count, extent, true);
    let template = Template::new("top k", SOURCE).including(FUNCTIONS).params(params.len());
    let shader = rows
        .fill(template, lowering.abilities)
        .with("buffers", bindings.declarations())
        .switch("largest", op.largest)
        .switch("values", values)
        .switch("indices", indices)
        .build();
    Ok(Lowered::one("top k", rows.dispatch(shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};
    use inferrum_tensor::Tensor;

    fn check(x: Tensor, k: i64, axis: i64) {
        for largest in [true, false] {
            let inputs = [Some((x.clone(), false)), Some((Tensor::vector(vec![k]), true))];
            agree_with(TopK { axis, largest, sorted: true }, &inputs, 2, Tolerance::EXACT);
        }
    }

    #[test]
    fn along_every_axis() {
        for (shape, k, axis) in [
            (&[17usize][..], 5, 0),
            (&[3, 500], 20, -1),
            (&[70, 3], 70, 0),
            (&[2, 9, 5], 1, 1),
            (&[0, 3], 2, 1),
        ] {
            check(random(shape, 1), k, axis);
        }
    }

    #[test]
    fn equals_and_nan() {
        for length in [6, 70] {
            let values = (0..length).map(|i| match i % 5 {
                0 => f32::NAN,
                1 => f32::NEG_INFINITY,
                2 => f32::INFINITY,
                _ => 1.0,
            });
            check(Tensor::vector(values.collect::<Vec<f32>>()), length as i64, 0);
        }
    }
}
