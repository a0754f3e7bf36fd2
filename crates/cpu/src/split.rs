//! `Split` of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::split::Split;

use crate::copies::Copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Split, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    Copies::lower(op, lowering)
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
