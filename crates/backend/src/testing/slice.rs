//! `Slice`.

use inferrum_ops::slice::Slice;
use inferrum_tensor::{DType, Tensor};

use super::{Case, random_of};

/// Shape, starts, ends, axes, steps.
type Range =
    (&'static [usize], &'static [i64], &'static [i64], Option<&'static [i64]>, Option<&'static [i64]>);

const RANGES: &[Range] = &[
    (&[5, 7, 9], &[1, 0, 2], &[4, 7, 9], None, None),
    (&[5, 7, 9], &[-3], &[i64::MAX], Some(&[1]), None),
    (&[5, 7, 9], &[-1, 6], &[i64::MIN, 0], Some(&[-1, 1]), Some(&[-1, -2])),
    (&[5, 70, 9], &[0, 3], &[100, 69], Some(&[0, 1]), Some(&[2, 3])),
    (&[5, 8, 8], &[4], &[8], Some(&[-1]), None),
    (&[5, 8, 6], &[2], &[6], Some(&[-1]), None),
    (&[5, 7], &[3], &[3], Some(&[0]), None),
    (&[5, 7], &[0], &[99], Some(&[0]), None),
    (&[0, 7], &[0], &[1], Some(&[0]), None),
    (&[8], &[7], &[0], None, Some(&[i64::MIN])),
    (&[3, 127, 17], &[126, 16], &[0, i64::MIN], Some(&[1, 2]), Some(&[-5, -1])),
];

/// Ranges from both ends, of steps of both signs, of nothing and of all.
pub fn ranges_of_every_kind(types: &[DType]) -> Vec<Case> {
    let list = |list: &[i64]| Some((Tensor::vector(list.to_vec()), true));
    let mut cases = Vec::new();
    for &(shape, starts, ends, axes, steps) in RANGES {
        for &dtype in types {
            let inputs = vec![
                Some((random_of(dtype, shape, 5), false)),
                list(starts),
                list(ends),
                axes.and_then(list),
                steps.and_then(list),
            ];
            cases.push(Case::new(Slice, inputs, 1));
        }
    }
    cases
}
