//! `GatherND`: slices copied by tuples of indices. A tuple that names none fails the run.

use inferrum_backend::Decline;
use inferrum_ops::gather_nd::GatherND;

use crate::copies::{copy_type, element_bytes, together};
use crate::index_tuples::Tuples;
use crate::indices;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/gather_nd.wgsl");

pub(crate) fn lower(op: &GatherND, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let tuples = Tuples::new(op.batch_dims, lowering)?;
    if lowering.shape(0)?.elements() == 0 {
        return Err(Decline("there is nothing that indices may name".into()));
    }
    let element = element_bytes(lowering.dtype(0)?)?;
    let factor = together(element, |factor| tuples.run.is_multiple_of(factor));
    let run = tuples.run / factor;
    let count = lowering.output_shape(0)?.elements() / factor;
    let mut params = tuples.words.clone();
    let place = params.len();
    params.extend(words([count, run])?);
    let template = Template::new("gather_nd", SOURCE).params(params.len());
    let shader = tuples
        .reading(template, lowering)?
        .with("type", copy_type(element * factor))
        .with("count", place)
        .build();
    let operands = [Operand::Input(1), Operand::Input(0), Operand::Output(0)];
    let operands: Vec<_> = operands.into_iter().chain(indices::fault(1, lowering)).collect();
    Ok(Lowered::one("gather slices", Dispatch::over(count, shader, &operands, params)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, fails, random_of, stored};
    use inferrum_tensor::{DType, Shape, Tensor};

    #[test]
    fn elements_and_slices_with_and_without_batches() {
        for dtype in stored() {
            for (data, indices, batch_dims) in [
                (&[4, 5][..], &[7, 2][..], 0),
                (&[4, 5], &[7, 1], 0),
                (&[4, 5, 6], &[2, 3, 2], 0),
                (&[3, 4, 8], &[3, 1], 1),
                (&[3, 4, 5], &[3, 6, 2], 1),
                (&[2, 3, 4, 5], &[2, 3, 2, 1], 2),
                (&[4, 5], &[0, 2], 0),
                (&[40, 100], &[30, 1], 0),
            ] {
                let count = Shape::from(indices).elements();
                let depth = indices[indices.len() - 1].max(1);
                let values: Vec<i64> = (0..count)
                    .map(|i| {
                        let extent = data[batch_dims + i % depth] as i64;
                        (i as i64 * 5 + 1) % (2 * extent) - extent
                    })
                    .collect();
                let indices = Tensor::from_i64(DType::I64, indices, &values).unwrap();
                agree(GatherND { batch_dims }, &[random_of(dtype, data, 1), indices], Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn indices_out_of_range_fail_the_run() {
        for (tuple, reason) in [([1, 5], "index 5 is out of range for an axis of 5"), ([-5, 0], "index -5")] {
            let indices = Tensor::from_i64(DType::I64, [2, 2], &[0, 0, tuple[0], tuple[1]]).unwrap();
            let inputs = [random_of(DType::F32, &[4, 5], 1), indices];
            let Some(told) = fails(GatherND { batch_dims: 0 }, &inputs, &[Shape::from([2])]) else { return };
            assert!(told.contains(reason), "{told}");
        }
    }
}
