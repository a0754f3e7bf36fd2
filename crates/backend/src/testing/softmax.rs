//! `Softmax` and `LogSoftmax`.

use inferrum_ops::softmax::Softmax;
use inferrum_tensor::Tensor;

use super::{Case, given, random};

/// Rows side by side and apart, few and many, short and long.
pub fn every_axis_and_length() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, axis) in [
        (&[1usize][..], 0),
        (&[3, 17], 1),
        (&[3, 17], 0),
        (&[2, 5, 127], -1),
        (&[2, 3000], 1),
        (&[2, 130, 7], 1),
        (&[2, 3, 4100], 1),
        (&[0, 3], 1),
        (&[70000, 2], 1),
        (&[66000, 33], 1),
        (&[3, 9000], 1),
        (&[2, 40000], 1),
        (&[1, 40001], 1),
        (&[3, 600, 40], 1),
    ] {
        for log in [false, true] {
            let op = Softmax { axis, flatten: false, log };
            cases.push(Case::new(op, given([random(shape, 1)]), 1));
        }
    }
    for axis in 0..3 {
        let op = Softmax { axis, flatten: true, log: false };
        cases.push(Case::new(op, given([random(&[3, 5, 9], 1)]), 1));
    }
    cases
}

/// Elements that are masked, or so large that their exponentials overflow.
pub fn hidden_and_far_elements() -> Vec<Case> {
    let case = |length: usize| {
        let mut row = vec![f32::NEG_INFINITY; length];
        (row[1], row[3]) = (1e30, 1e30);
        let op = Softmax { axis: 0, flatten: false, log: false };
        Case::new(op, given([Tensor::vector(row)]), 1)
    };
    [4, 64].into_iter().map(case).collect()
}
