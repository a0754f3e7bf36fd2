//! `GatherElements`. An index that is not on its axis fails the run.

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_ops::gather_elements::GatherElements;

use crate::copies::{copy_type, element_bytes};
use crate::indices;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, word};
use crate::loops::{self, loop_operand};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/gather_elements.cu");

pub(crate) fn lower(op: &GatherElements, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, output) = (lowering.shape(0)?, lowering.output_shape(0)?);
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    if shape.elements() == 0 {
        return Err(Decline("there is nothing that indices may name".into()));
    }
    word(shape.elements())?;
    let mut strides = dense_strides(&shape);
    let stride = std::mem::replace(&mut strides[axis], 0) as usize;
    let loops = Loops::new(&output, &[&strides])?;
    let template = Template::new("gather_elements", SOURCE).including(loops::SOURCE);
    let source = indices::reading(template, 1, &[shape[axis]], lowering)?
        .define("T", copy_type(element_bytes(lowering.dtype(0)?)?))
        .define("RANK", loops.dims().len())
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Input(1),
        Operand::Output(0),
        indices::fault(1, lowering),
        Operand::word(output.elements())?,
        Operand::word(shape[axis])?,
        Operand::word(stride)?,
        loop_operand(&loops, &[0])?,
    ];
    Ok(Lowered::one("gather elements", Kernel::over(output.elements(), source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on, fails, stored};
    use inferrum_backend::testing::gather_elements;

    #[test]
    fn every_axis() {
        agree_on(gather_elements::every_axis(&stored()), Tolerance::EXACT);
    }

    #[test]
    fn indices_out_of_range_fail_the_run() {
        for (op, inputs, shape, reason) in gather_elements::out_of_range() {
            let told = fails(op, &inputs, &[shape]);
            assert!(told.contains(&reason) && told.contains("`node`"), "{told}");
        }
    }
}
