//! `Transpose` of elements of any size.

use inferrum_backend::Decline;
use inferrum_ops::transpose::Transpose;

use crate::copies::Copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower(op: &Transpose, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    Copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random_of};
    use inferrum_tensor::DType;

    #[test]
    fn every_permutation_of_three_axes() {
        for dtype in [DType::F32, DType::U8, DType::F16, DType::I64, DType::Complex128] {
            for perm in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                for shape in [[2, 17, 33], [1, 3, 65], [70, 4, 66], [3, 0, 2], [1, 1, 1]] {
                    agree(
                        Transpose { perm: Some(perm.to_vec()) },
                        &[random_of(dtype, &shape, 3)],
                        Tolerance::EXACT,
                    );
                }
            }
        }
    }

    #[test]
    fn other_ranks() {
        agree(Transpose { perm: None }, &[random_of(DType::F32, &[], 1)], Tolerance::EXACT);
        agree(Transpose { perm: None }, &[random_of(DType::F32, &[5], 1)], Tolerance::EXACT);
        let perm = Some(vec![0, 2, 1, 3]);
        agree(Transpose { perm }, &[random_of(DType::F32, &[2, 9, 5, 64], 1)], Tolerance::EXACT);
        let perm = Some(vec![4, 0, 3, 1, 2]);
        agree(Transpose { perm }, &[random_of(DType::F32, &[2, 3, 4, 5, 6], 1)], Tolerance::EXACT);
    }
}
