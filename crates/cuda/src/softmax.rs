//! `Softmax`, `LogSoftmax` along any axis.

use inferrum_backend::Decline;
use inferrum_ops::softmax::Softmax;

use crate::kernel::{Lowered, Lowering, Operand, Work};
use crate::rows::Rows;
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/softmax.cu");

/// Bytes of `Exponentials` (softmax.cu).
const EXPONENTIALS: usize = 8;

pub(crate) fn lower(op: &Softmax, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let (outer, extent, inner) = op.extents(&shape).map_err(|error| Decline(error.to_string()))?;
    let count = outer.saturating_mul(inner);
    Operand::word(shape.elements())?;
    let rows = Rows::of(count, extent, inner, lowering.dtype(0)?.size(), lowering.abilities);
    let source = |entry: &'static str, rows: Rows| {
        let template = rows
            .fill(Template::new(entry, SOURCE))
            .define("X", lowering.float(0)?)
            .define("Y", lowering.output_float(0)?)
            .switch("ENTRY_ROWS", entry == "softmax")
            .switch("LOG", op.log);
        Ok::<_, Decline>(template.build())
    };
    if let Some((blocks, parts)) = rows.in_parts(lowering.abilities) {
        let numbers = [Operand::word(extent)?, Operand::word(parts.count)?, Operand::word(parts.span)?];
        let first = [&[Operand::Input(0), Operand::Scratch(0)][..], &numbers].concat();
        let second = [&[Operand::Input(0), Operand::Scratch(0), Operand::Output(0)][..], &numbers].concat();
        let kernels = vec![
            blocks.launch(source("softmax_parts", blocks)?, &first)?,
            blocks.launch(source("softmax_of_parts", blocks)?, &second)?,
        ];
        let scratch = vec![blocks.count() * EXPONENTIALS];
        return Ok(Lowered::Work(Work { name: "softmax in parts".into(), kernels, scratch, library: None }));
    }
    let operands = [
        Operand::Input(0),
        Operand::Output(0),
        Operand::word(count)?,
        Operand::word(extent)?,
        Operand::word(inner)?,
    ];
    Ok(Lowered::one("softmax", rows.launch(source("softmax", rows)?, &operands)?))
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
