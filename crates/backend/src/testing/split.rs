//! `Split`.

use inferrum_ops::split::Split;
use inferrum_tensor::{DType, Tensor};

use super::{Case, random_of};

/// Along every axis, into equal parts and others, few and many.
pub fn parts_along_every_axis(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for axis in [0i64, 1, -1] {
            let data = Some((random_of(dtype, &[6, 7, 8], 1), false));
            cases.push(Case::new(Split { axis, outputs: 3 }, vec![data.clone()], 3));
            let extent: i64 = [6, 7, 8][axis.rem_euclid(3) as usize];
            let sizes = Some((Tensor::vector(vec![1, 0, extent - 1]), true));
            cases.push(Case::new(Split { axis, outputs: 3 }, vec![data, sizes], 3));
        }
    }
    let data = Some((random_of(DType::F32, &[3, 400], 1), false));
    for outputs in [1, 33] {
        cases.push(Case::new(Split { axis: 1, outputs }, vec![data.clone()], outputs));
    }
    cases
}
