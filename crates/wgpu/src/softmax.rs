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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::softmax;

    #[test]
    fn every_axis_and_length() {
        agree_on(softmax::every_axis_and_length(), Tolerance::CLOSE);
    }

    #[test]
    fn hidden_and_far_elements() {
        agree_on(softmax::hidden_and_far_elements(), Tolerance::CLOSE);
    }
}
