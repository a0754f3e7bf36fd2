//! `GatherElements`. An index that is not on its axis fails the run.

use inferrum_backend::{Decline, Loops, dense_strides};
use inferrum_ops::gather_elements::GatherElements;

use crate::copies::{copy_type, element_bytes};
use crate::indices;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::Template;
use crate::strides::{loop_words, offsets};

const SOURCE: &str = include_str!("../../../shaders/gather_elements.wgsl");

pub(crate) fn lower(op: &GatherElements, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, output) = (lowering.shape(0)?, lowering.output_shape(0)?);
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    if shape.elements() == 0 {
        return Err(Decline("there is nothing that indices may name".into()));
    }
    let mut strides = dense_strides(&shape);
    let stride = std::mem::replace(&mut strides[axis], 0) as usize;
    let loops = Loops::new(&output, &[&strides])?;
    let mut params = words([output.elements(), shape[axis], stride])?;
    let walk = offsets(loops.dims().len(), 1, params.len(), "index");
    params.extend(loop_words(&loops, &[0])?);
    let template = Template::new("gather_elements", SOURCE).params(params.len());
    let shader = indices::reading(template, 1, &[shape[axis]], lowering)?
        .with("type", copy_type(element_bytes(lowering.dtype(0)?)?))
        .with("offsets", walk)
        .build();
    let operands = [Operand::Input(0), Operand::Input(1), Operand::Output(0)];
    let operands: Vec<_> = operands.into_iter().chain(indices::fault(1, lowering)).collect();
    Ok(Lowered::one("gather elements", Dispatch::over(output.elements(), shader, &operands, params)?))
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
            let Some(told) = fails(op, &inputs, &[shape]) else { return };
            assert!(told.contains(&reason) && told.contains("`node`"), "{told}");
        }
    }
}
