//! `Softmax`, `LogSoftmax` of f32 along any axis.

use inferrum_backend::Decline;
use inferrum_ops::softmax::Softmax;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand, words};
use crate::rows::Rows;
use crate::shader::Template;

/// The source of [`lower_rows`].
pub(crate) const SOURCE: &str = include_str!("../../../shaders/softmax.wgsl");

pub(crate) fn lower(op: &Softmax, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[])?;
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    let result = if op.log { "Out(distance - log(sum))" } else { "Out(exponential(distance) * scale)" };
    lower_rows(Template::new("softmax", SOURCE), op, "exp(distance)", result, bindings, lowering)
}

/// The kernel of rows; `x` and `y` are bound. Expressions say what the exponential of `distance` is, an element's from the greatest of
/// its row, and what the result: of that, of `sum`, all exponentials', and of `scale`, its inverse.
///
/// # Errors
/// Another rank than the operator takes, or more elements than the kernel does.
pub(crate) fn lower_rows(
    template: Template,
    op: &Softmax,
    exponential: &str,
    result: &str,
    bindings: Bindings,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let (outer, extent, inner) =
        op.extents(&lowering.shape(0)?).map_err(|error| Decline(error.to_string()))?;
    let count = outer.saturating_mul(inner);
    let params = words([count, extent, inner])?;
    let rows = Rows::of(count, extent, inner == 1);
    let shader = rows
        .fill(template.params(params.len()), lowering.abilities)
        .with("buffers", bindings.declarations())
        .with("exponential", exponential)
        .with("result", result)
        .build();
    let name = shader.name;
    Ok(Lowered::one(name, rows.dispatch(shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random};
    use inferrum_tensor::Tensor;

    #[test]
    fn every_axis_and_length() {
        for (shape, axis) in [
            (&[1usize][..], 0),
            (&[3, 17], 1),
            (&[3, 17], 0),
            (&[2, 5, 127], -1),
            (&[2, 3000], 1),
            (&[2, 130, 7], 1),
            (&[2, 3, 4100], 1),
            (&[0, 3], 1),
            (&[70000, 2], 1),
            (&[66000, 33], 1),
        ] {
            for log in [false, true] {
                let op = Softmax { axis, flatten: false, log };
                agree(op, &[random(shape, 1)], Tolerance::CLOSE);
            }
        }
        for axis in 0..3 {
            agree(Softmax { axis, flatten: true, log: false }, &[random(&[3, 5, 9], 1)], Tolerance::CLOSE);
        }
    }

    #[test]
    fn hidden_and_far_elements() {
        for length in [4, 64] {
            let mut row = vec![f32::NEG_INFINITY; length];
            (row[1], row[3]) = (1e30, 1e30);
            let op = Softmax { axis: 0, flatten: false, log: false };
            agree(op, &[Tensor::vector(row)], Tolerance::CLOSE);
        }
    }
}
