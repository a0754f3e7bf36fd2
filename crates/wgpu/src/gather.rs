//! `Gather`: runs copied by index. An index that is not on its axis fails the run.

use inferrum_backend::Decline;
use inferrum_ops::gather::Gather;

use crate::copies::{self, copy_type, element_bytes, together};
use crate::indices;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/gather.wgsl");

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
    let element = element_bytes(lowering.dtype(0)?)?;
    let factor = together(element, |factor| inner.is_multiple_of(factor));
    let count = lowering.output_shape(0)?.elements() / factor;
    let params = words([count, inner / factor, indices, extent])?;
    let template = Template::new("gather", SOURCE).params(params.len());
    let shader =
        indices::reading(template, 1, &[extent], lowering)?.with("type", copy_type(element * factor)).build();
    let operands = [Operand::Input(0), Operand::Input(1), Operand::Output(0)];
    let operands: Vec<_> = operands.into_iter().chain(indices::fault(1, lowering)).collect();
    Ok(Lowered::one("gather rows", Dispatch::over(count, shader, &operands, params)?))
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
            let Some(told) = fails(op, &inputs, &[shape]) else { return };
            assert!(told.contains(&reason) && told.contains("`node`"), "{told}");
        }
        // The next run works.
        agree_on(gather::ends(), Tolerance::EXACT);
    }

    #[test]
    fn constant_indices_out_of_range_are_declined() {
        for indices in [vec![5i64], vec![0, -6]] {
            let inputs = [(random_of(DType::F32, &[5], 1), false), (Tensor::vector(indices), true)];
            let Some(reason) = declined(Gather { axis: 0 }, &inputs) else { return };
            assert!(reason.contains("out of range"), "{reason}");
        }
    }
}
