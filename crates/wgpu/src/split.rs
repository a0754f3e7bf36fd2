//! `Split`: as many outputs in a dispatch as the adapter binds.

use inferrum_backend::Decline;
use inferrum_graph::Operator;

use crate::copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_with, random_of, stored};
    use inferrum_ops::split::Split;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn parts_along_every_axis() {
        for dtype in stored() {
            for axis in [0i64, 1, -1] {
                let data = Some((random_of(dtype, &[6, 7, 8], 1), false));
                agree_with(Split { axis, outputs: 3 }, std::slice::from_ref(&data), 3, Tolerance::EXACT);
                let extent: i64 = [6, 7, 8][axis.rem_euclid(3) as usize];
                let sizes = Some((Tensor::vector(vec![1, 0, extent - 1]), true));
                agree_with(Split { axis, outputs: 3 }, &[data, sizes], 3, Tolerance::EXACT);
            }
        }
        let data = Some((random_of(DType::F32, &[3, 400], 1), false));
        agree_with(Split { axis: 1, outputs: 1 }, std::slice::from_ref(&data), 1, Tolerance::EXACT);
        agree_with(Split { axis: 1, outputs: 33 }, &[data], 33, Tolerance::EXACT);
    }
}
