//! `Softmax`, `LogSoftmax` along any axis.

use inferrum_backend::Decline;
use inferrum_ops::softmax::Softmax;

use crate::kernel::{Lowered, Lowering, Operand};
use crate::rows::Rows;
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/softmax.cu");

pub(crate) fn lower(op: &Softmax, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let (outer, extent, inner) = op.extents(&shape).map_err(|error| Decline(error.to_string()))?;
    let count = outer.saturating_mul(inner);
    let rows = Rows::of(count, extent, inner == 1);
    let source = rows
        .fill(Template::new("softmax", SOURCE))
        .define("X", lowering.float(0)?)
        .define("Y", lowering.output_float(0)?)
        .switch("LOG", op.log)
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Output(0),
        Operand::word(count)?,
        Operand::word(extent)?,
        Operand::word(inner)?,
    ];
    Ok(Lowered::one("softmax", rows.launch(source, &operands)?))
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
