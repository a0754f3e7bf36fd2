//! `Transpose`, by tiles where neighbours change.

use inferrum_backend::Decline;
use inferrum_graph::Operator;

use crate::copies;
use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    copies::lower(op, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree, random_of, stored};
    use inferrum_ops::transpose::Transpose;
    use inferrum_tensor::DType;

    #[test]
    fn every_permutation_of_three_axes() {
        for dtype in [DType::F32, DType::Bool, DType::I64] {
            for perm in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                for shape in [[2, 17, 33], [1, 3, 65], [70, 4, 66], [3, 0, 2], [1, 1, 1]] {
                    let perm = Some(perm.to_vec());
                    agree(Transpose { perm }, &[random_of(dtype, &shape, 3)], Tolerance::EXACT);
                }
            }
        }
    }

    #[test]
    fn every_stored_type() {
        for dtype in stored() {
            agree(Transpose { perm: None }, &[random_of(dtype, &[127, 35], 1)], Tolerance::EXACT);
        }
    }

    #[test]
    fn other_ranks() {
        for (shape, perm) in [
            (&[][..], None),
            (&[5], None),
            (&[2, 9, 5, 64], Some(vec![0, 2, 1, 3])),
            (&[2, 9, 16, 31], Some(vec![0, 2, 3, 1])),
            (&[2, 3, 4, 5, 6], Some(vec![4, 0, 3, 1, 2])),
            (&[2, 3, 2, 9, 2, 17], Some(vec![5, 0, 3, 1, 4, 2])),
        ] {
            agree(Transpose { perm }, &[random_of(DType::F32, shape, 1)], Tolerance::EXACT);
        }
    }
}
