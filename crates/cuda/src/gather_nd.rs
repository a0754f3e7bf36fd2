//! `GatherND`: slices copied by tuples of indices. A tuple that names none fails the run.

use inferrum_backend::Decline;
use inferrum_ops::gather_nd::GatherND;

use crate::copies::{copy_type, element_bytes, together};
use crate::index_tuples::Tuples;
use crate::indices;
use crate::kernel::{Kernel, Lowered, Lowering, Operand};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/gather_nd.cu");

pub(crate) fn lower(op: &GatherND, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let tuples = Tuples::new(op.batch_dims, lowering)?;
    if lowering.shape(0)?.elements() == 0 {
        return Err(Decline("there is nothing that indices may name".into()));
    }
    let element = element_bytes(lowering.dtype(0)?)?;
    let factor = together(element, |factor| tuples.run.is_multiple_of(factor));
    let count = lowering.output_shape(0)?.elements() / factor;
    let source = tuples
        .reading(Template::new("gather_nd", SOURCE), lowering)?
        .define("T", copy_type(element * factor))
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Input(1),
        Operand::Output(0),
        indices::fault(1, lowering),
        Operand::word(count)?,
        Operand::word(tuples.run / factor)?,
        Operand::words(&tuples.words),
    ];
    Ok(Lowered::one("gather slices", Kernel::over(count, source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on, fails, stored};
    use inferrum_backend::testing::gather_nd;

    #[test]
    fn elements_and_slices() {
        agree_on(gather_nd::elements_and_slices(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn indices_out_of_range_fail_the_run() {
        for (op, inputs, shape, reason) in gather_nd::out_of_range() {
            let told = fails(op, &inputs, &[shape]);
            assert!(told.contains(&reason) && told.contains("`node`"), "{told}");
        }
    }
}
