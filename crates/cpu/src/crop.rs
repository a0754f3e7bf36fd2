//! `Crop` of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::crop::Crop;

use crate::copies::{Copies, Part, Strided, StridedCopy};
use crate::kernel::{Lowered, Lowering};
use crate::strided::dense_strides;

pub(crate) fn lower(op: &Crop, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lower_in(op, &[0, 1, 2, 3], lowering)
}

/// As [`lower`], of a tensor whose axes are laid out in another order: axis `i` is the operator's axis `order[i]`.
pub(crate) fn lower_in(op: &Crop, order: &[usize], lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, output) = (lowering.shape(0)?, lowering.output_shape(0)?);
    if shape.rank() != 4 || order.len() != 4 || output.elements() == 0 {
        return Err(Decline(format!("an image of shape {shape}")));
    }
    let begins = [0, 0, op.border[1], op.border[0]];
    let strides = dense_strides(&shape);
    let start = order.iter().zip(&strides).map(|(&axis, stride)| begins[axis] as isize * stride).sum();
    let copy = StridedCopy::new(
        lowering.dtype(0)?.size(),
        &output,
        Strided { start, strides: &strides },
        Strided { start: 0, strides: &dense_strides(&output) },
    )?;
    Ok(Copies::kernel(lowering.isa, vec![Part { input: 0, output: 0, copy }]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random_of};
    use inferrum_tensor::DType;

    #[test]
    fn borders_and_extents() {
        for (border, scale) in [([1, 2, 3, 0], None), ([0; 4], None), ([2, 1, 9, 9], Some([3, 4]))] {
            for dtype in [DType::F32, DType::U8, DType::F16] {
                agree(Crop { border, scale }, &[random_of(dtype, &[2, 3, 7, 17], 1)], Tolerance::EXACT);
            }
        }
    }
}
