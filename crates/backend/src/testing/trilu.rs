//! `Trilu`.

use inferrum_ops::trilu::Trilu;
use inferrum_tensor::{DType, Tensor};

use super::{Case, given, random_of};

/// Diagonals within the matrix and beyond, known before the run and in it.
pub fn diagonals_within_and_beyond(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for shape in [&[5, 5][..], &[2, 3, 17], &[1, 1], &[0, 3], &[3, 0], &[30, 31]] {
            for upper in [false, true] {
                let x = random_of(dtype, shape, 1);
                cases.push(Case::new(Trilu { upper }, given([x.clone()]), 1));
                for k in [-1, 3, -400, 1 << 32, i64::MAX, i64::MIN] {
                    for constant in [false, true] {
                        let inputs = vec![Some((x.clone(), false)), Some((Tensor::scalar(k), constant))];
                        cases.push(Case::new(Trilu { upper }, inputs, 1));
                    }
                }
            }
        }
    }
    cases
}
