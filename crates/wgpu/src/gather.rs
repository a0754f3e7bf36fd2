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
    use crate::testing::{Tolerance, agree, agree_with, declined, fails, random_of, stored};
    use inferrum_tensor::{DType, Shape, Tensor};

    fn indices(dtype: DType, shape: &[usize], extent: usize) -> Tensor {
        let count = Shape::from(shape).elements() as i64;
        let extent = extent as i64;
        let values: Vec<i64> = (0..count).map(|i| (i * 7 + 3) % (2 * extent) - extent).collect();
        Tensor::from_i64(dtype, shape, &values).unwrap()
    }

    #[test]
    fn rows_of_every_size_along_every_axis() {
        for dtype in stored() {
            for (shape, axis) in
                [(&[9, 5][..], 0), (&[9, 5], 1), (&[2, 7, 40], -2), (&[30, 70], 0), (&[11], 0)]
            {
                let extent = shape[i64::rem_euclid(axis, shape.len() as i64) as usize];
                for index_shape in [&[][..], &[5], &[2, 3], &[0]] {
                    for index_type in [DType::I64, DType::I32] {
                        let inputs = [random_of(dtype, shape, 1), indices(index_type, index_shape, extent)];
                        agree(Gather { axis }, &inputs, Tolerance::EXACT);
                    }
                }
            }
        }
    }

    #[test]
    fn constant_tables_and_indices() {
        for shape in [&[][..], &[1], &[1, 1]] {
            let index = Tensor::from_i64(DType::I64, shape, &[-2]).unwrap();
            let inputs = [Some((random_of(DType::F32, &[3, 5, 7], 1), false)), Some((index, true))];
            agree_with(Gather { axis: 1 }, &inputs, 1, Tolerance::EXACT);
        }
        let table = random_of(DType::F32, &[9, 5], 1);
        let inputs = [Some((table, true)), Some((indices(DType::I64, &[2, 7], 9), false))];
        agree_with(Gather { axis: 0 }, &inputs, 1, Tolerance::EXACT);
    }

    #[test]
    fn indices_out_of_range_fail_the_run_and_the_next_one_works() {
        for index in [5, -6, i64::MIN, i64::MAX, 1 << 32, -(1 << 32), i64::from(i32::MIN)] {
            let values = vec![0, 4, index, -5];
            let inputs = [random_of(DType::F32, &[5], 1), Tensor::vector(values)];
            let Some(told) = fails(Gather { axis: 0 }, &inputs, &[Shape::from([4])]) else { return };
            let reason = format!("index {index} is out of range for an axis of 5");
            assert!(told.contains(&reason) && told.contains("`node`"), "{told}");
        }
        let narrow = Tensor::from_i64(DType::I32, [2], &[-7, 0]).unwrap();
        let told =
            fails(Gather { axis: 1 }, &[random_of(DType::F32, &[3, 6], 1), narrow], &[Shape::from([3, 2])]);
        assert!(told.is_none_or(|told| told.contains("index -7 is out of range for an axis of 6")));
        let inputs = [random_of(DType::F32, &[5], 1), Tensor::vector(vec![-5i64, 4])];
        agree(Gather { axis: 0 }, &inputs, Tolerance::EXACT);
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
