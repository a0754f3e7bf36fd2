//! `Concat` of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::concat::Concat;

use crate::copies::{Copies, Part, Strided, StridedCopy};
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Concat, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let output = lowering.output_shape(0)?;
    let axis = output.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = output.split_at_axis(axis);
    let row = (extent * inner) as isize;
    let mut begin = 0isize;
    let mut parts = Vec::new();
    for input in 0..lowering.bound.inputs.len() {
        let run = lowering.shape(input)?[axis] * inner;
        let copy = StridedCopy::new(
            lowering.dtype(input)?.size(),
            &[outer, run],
            Strided { start: 0, strides: &[run as isize, 1] },
            Strided { start: begin, strides: &[row, 1] },
        )?;
        parts.push(Part { input, output: 0, copy });
        begin += run as isize;
    }
    let whole = parts.len() == 1;
    Ok(if whole { Copies::lower(lowering.isa, parts) } else { Copies::kernel(lowering.isa, parts) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random_of};
    use inferrum_tensor::DType;

    #[test]
    fn tensors_of_every_size_along_every_axis() {
        for dtype in [DType::F32, DType::U8, DType::I64, DType::F16] {
            for axis in [0i64, 1, 2, -1] {
                let shape = |extent: usize| {
                    let mut shape = [3, 4, 5];
                    shape[axis.rem_euclid(3) as usize] = extent;
                    shape
                };
                let inputs: Vec<_> =
                    [1, 0, 7, 2].iter().map(|&n| random_of(dtype, &shape(n), n as u64)).collect();
                agree(Concat { axis }, &inputs, Tolerance::EXACT);
                agree(Concat { axis }, &inputs[..1], Tolerance::EXACT);
            }
        }
        let wide = [random_of(DType::F32, &[300, 200], 1), random_of(DType::F32, &[300, 150], 2)];
        agree(Concat { axis: 1 }, &wide, Tolerance::EXACT);
    }
}
