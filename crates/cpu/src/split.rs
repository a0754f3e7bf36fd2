//! `Split` of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::split::Split;

use crate::copies::{Copies, Part, Strided, StridedCopy};
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Split, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let asked = lowering.has(1).then(|| lowering.ints(1)).transpose()?;
    let sizes = op.sizes(shape[axis], asked.as_deref()).map_err(|error| Decline(error.to_string()))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let row = (extent * inner) as isize;
    let mut begin = 0isize;
    let mut parts = Vec::new();
    for (output, size) in sizes.into_iter().enumerate() {
        let run = size * inner;
        if lowering.wants(output) {
            let copy = StridedCopy::new(
                lowering.dtype(0)?.size(),
                &[outer, run],
                Strided { start: begin, strides: &[row, 1] },
                Strided { start: 0, strides: &[run as isize, 1] },
            )?;
            parts.push(Part { input: 0, output, copy });
        }
        begin += run as isize;
    }
    Ok(Copies::kernel(lowering.isa, parts).packed(&[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn parts_along_every_axis() {
        for dtype in [DType::F32, DType::U8, DType::I64] {
            for axis in [0i64, 1, -1] {
                let data = Some((random_of(dtype, &[6, 7, 8], 1), false));
                agree_with(Split { axis, outputs: 3 }, std::slice::from_ref(&data), 3, Tolerance::EXACT);
                let extent: i64 = [6, 7, 8][axis.rem_euclid(3) as usize];
                let sizes = Some((Tensor::vector(vec![1, 0, extent - 1]), true));
                agree_with(Split { axis, outputs: 3 }, &[data, sizes], 3, Tolerance::EXACT);
            }
        }
        let data = Some((random_of(DType::F32, &[300, 400], 1), false));
        agree_with(Split { axis: 1, outputs: 2 }, std::slice::from_ref(&data), 2, Tolerance::EXACT);
        agree_with(Split { axis: 1, outputs: 1 }, &[data], 1, Tolerance::EXACT);
    }
}
