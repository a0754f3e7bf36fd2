//! `Concat`.

use inferrum_ops::concat::Concat;
use inferrum_tensor::{DType, Tensor};

use super::{Case, given_all, random_of};

/// Along every axis, with an empty one among them, and alone.
pub fn every_axis(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for axis in [0i64, 1, 2, -1] {
            let shape = |extent: usize| {
                let mut shape = [3, 4, 8];
                shape[axis.rem_euclid(3) as usize] = extent;
                shape
            };
            let inputs: Vec<Tensor> =
                [1, 0, 7, 2].iter().map(|&n| random_of(dtype, &shape(n), n as u64)).collect();
            cases.push(Case::new(Concat { axis }, given_all(inputs[..1].to_vec()), 1));
            cases.push(Case::new(Concat { axis }, given_all(inputs), 1));
        }
    }
    cases
}

/// More than a launch takes.
pub fn many_inputs() -> Vec<Case> {
    let inputs = (0..37).map(|i| random_of(DType::F32, &[3, i % 4, 2], i as u64)).collect();
    vec![Case::new(Concat { axis: 1 }, given_all(inputs), 1)]
}
