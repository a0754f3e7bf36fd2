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
    use super::*;
    use crate::testing::{Tolerance, agree, fails, random_of, stored};
    use inferrum_tensor::{DType, Shape, Tensor};

    #[test]
    fn elements_of_every_size_along_every_axis() {
        for dtype in stored() {
            for (shape, axis, part) in [
                (&[9, 5][..], 0, &[4, 5][..]),
                (&[9, 5], 1, &[9, 12]),
                (&[2, 7, 40], -2, &[2, 3, 39]),
                (&[20, 30], 1, &[20, 30]),
                (&[3, 4], 0, &[0, 4]),
                (&[2, 3, 2, 3, 2, 3], 3, &[2, 1, 2, 5, 1, 3]),
            ] {
                let extent = shape[i64::rem_euclid(axis, shape.len() as i64) as usize] as i64;
                let count = Shape::from(part).elements() as i64;
                let values: Vec<i64> = (0..count).map(|i| (i * 7 + 3) % (2 * extent) - extent).collect();
                for index_type in [DType::I64, DType::I32] {
                    let indices = Tensor::from_i64(index_type, part, &values).unwrap();
                    agree(GatherElements { axis }, &[random_of(dtype, shape, 1), indices], Tolerance::EXACT);
                }
            }
        }
    }

    #[test]
    fn indices_out_of_range_fail_the_run() {
        for index in [5, -6] {
            let inputs = [random_of(DType::F32, &[5], 1), Tensor::vector(vec![0i64, index, 1])];
            let Some(told) = fails(GatherElements { axis: 0 }, &inputs, &[Shape::from([3])]) else { return };
            assert!(told.contains(&format!("index {index} is out of range for an axis of 5")), "{told}");
        }
    }
}
