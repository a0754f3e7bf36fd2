//! `LpNormalization`.

use inferrum_ops::lp_norm::LpNormalization;
use inferrum_tensor::Tensor;

use super::{Case, given, random};

/// Rows side by side and apart, and one of nothing but zeros.
pub fn both_norms_along_every_axis() -> Vec<Case> {
    let mut cases = Vec::new();
    for p in [1, 2] {
        for (shape, axis) in [
            (&[17usize][..], 0),
            (&[3, 127], -1),
            (&[3, 127], 0),
            (&[2, 200, 5], 1),
            (&[2, 64], 1),
            (&[0, 3], 1),
        ] {
            cases.push(Case::new(LpNormalization { axis, p }, given([random(shape, 1)]), 1));
        }
        let zeros = Tensor::vector(vec![0f32; 5]);
        cases.push(Case { slack: 0.0, ..Case::new(LpNormalization { axis: 0, p }, given([zeros]), 1) });
    }
    cases
}
