//! `Gather`: runs copied by index. An index that is not on its axis fails the run.

use inferrum_backend::Decline;
use inferrum_ops::gather::Gather;

use crate::copies::{self, copy_type, element_bytes, together};
use crate::indices;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, word};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/gather.cu");

pub(crate) fn lower(op: &Gather, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (_, extent, inner) = shape.split_at_axis(axis);
    let indices = lowering.shape(1)?.elements();
    if let (1, Some(_)) = (indices, lowering.constant(1)) {
        return copies::lower(op, lowering);
    }
    if shape.elements() == 0 {
        return Err(Decline("there is nothing that indices may name".into()));
    }
    word(shape.elements())?;
    let element = element_bytes(lowering.dtype(0)?)?;
    let factor = together(element, |factor| inner.is_multiple_of(factor));
    let count = lowering.output_shape(0)?.elements() / factor;
    let source = indices::reading(Template::new("gather", SOURCE), 1, &[extent], lowering)?
        .define("T", copy_type(element * factor))
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Input(1),
        Operand::Output(0),
        indices::fault(1, lowering),
        Operand::word(count)?,
        Operand::word(inner / factor)?,
        Operand::word(indices)?,
        Operand::word(extent)?,
    ];
    Ok(Lowered::one("gather rows", Kernel::over(count, source, &operands)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, declined, fails, random_of, stored};
    use inferrum_backend::testing::gather;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn every_axis() {
        agree_on(gather::every_axis(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn constants() {
        agree_on(gather::constants(), Tolerance::EXACT);
    }

    #[test]
    fn indices_out_of_range_fail_the_run() {
        for (op, inputs, shape, reason) in gather::out_of_range() {
            let told = fails(op, &inputs, &[shape]);
            assert!(told.contains(&reason) && told.contains("`node`"), "{told}");
        }
        // The next run works.
        agree_on(gather::ends(), Tolerance::EXACT);
    }

    #[test]
    fn constant_indices_out_of_range_are_declined() {
        for indices in [vec![5i64], vec![0, -6]] {
            let inputs = [(random_of(DType::F32, &[5], 1), false), (Tensor::vector(indices), true)];
            let reason = declined(Gather { axis: 0 }, &inputs);
            assert!(reason.contains("out of range"), "{reason}");
        }
    }
}
