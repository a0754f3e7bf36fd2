//! `Transpose`.

use inferrum_ops::transpose::Transpose;
use inferrum_tensor::DType;

use super::{Case, given, random_of};

fn case(dtype: DType, shape: &[usize], perm: Option<Vec<usize>>) -> Case {
    Case::new(Transpose { perm }, given([random_of(dtype, shape, 3)]), 1)
}

/// Short, long and empty axes in every order.
pub fn every_permutation_of_three_axes() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::F32, DType::Bool, DType::I64] {
        for perm in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for shape in [[2, 17, 33], [1, 3, 65], [70, 4, 66], [3, 0, 2], [1, 1, 1]] {
                cases.push(case(dtype, &shape, Some(perm.to_vec())));
            }
        }
    }
    cases
}

/// A matrix of each.
pub fn every_type(types: &[DType]) -> Vec<Case> {
    types.iter().map(|&dtype| case(dtype, &[127, 35], None)).collect()
}

/// Fewer axes and more.
pub fn other_ranks() -> Vec<Case> {
    [
        (&[][..], None),
        (&[5], None),
        (&[2, 9, 5, 64], Some(vec![0, 2, 1, 3])),
        (&[2, 9, 16, 31], Some(vec![0, 2, 3, 1])),
        (&[2, 3, 4, 5, 6], Some(vec![4, 0, 3, 1, 2])),
        (&[2, 3, 2, 9, 2, 17], Some(vec![5, 0, 3, 1, 4, 2])),
    ]
    .into_iter()
    .map(|(shape, perm)| case(DType::F32, shape, perm))
    .collect()
}
