//! `Expand` and `Tile`.

use inferrum_ops::expand::Expand;
use inferrum_ops::tile::Tile;
use inferrum_tensor::{DType, Tensor};

use super::{Case, Given, random_of};

fn listed(list: &[i64]) -> Given {
    Some((Tensor::vector(list.to_vec()), true))
}

/// Axes that repeat or are added.
pub fn axes_repeat_and_are_added(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for (shape, target) in [
            (&[3, 1][..], &[3, 40][..]),
            (&[1, 40], &[3, 40]),
            (&[5], &[2, 3, 5]),
            (&[2, 1, 1, 7], &[1, 1, 4, 1]),
            (&[2, 8, 1, 3, 4], &[2, 8, 4, 3, 4]),
            (&[], &[10, 70]),
            (&[3, 1], &[3, 0]),
            (&[2, 3], &[1]),
        ] {
            let inputs = vec![Some((random_of(dtype, shape, 1), false)), listed(target)];
            cases.push(Case::new(Expand, inputs, 1));
        }
    }
    cases
}

/// Repeats of every axis, and of one.
pub fn axes_repeat_as_often_as_asked(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in types {
        for (shape, repeats) in [
            (&[2, 3][..], &[2, 2][..]),
            (&[2, 3, 4], &[1, 3, 1]),
            (&[1, 5], &[300, 1]),
            (&[7], &[0]),
            (&[], &[]),
            (&[0, 2], &[3, 3]),
            (&[4, 5], &[1, 1]),
        ] {
            let inputs = vec![Some((random_of(dtype, shape, 1), false)), listed(repeats)];
            cases.push(Case::new(Tile { one_axis: false }, inputs, 1));
        }
    }
    let scalar = |x: i64| Some((Tensor::scalar(x), true));
    let inputs = vec![Some((random_of(DType::F32, &[2, 3], 1), false)), scalar(4), scalar(1)];
    cases.push(Case::new(Tile { one_axis: true }, inputs, 1));
    cases
}

/// More than a launch counts along an axis.
pub fn many_elements() -> Vec<Case> {
    let inputs = vec![Some((random_of(DType::I32, &[1], 1), false)), listed(&[5_000_003])];
    vec![Case::new(Expand, inputs, 1)]
}
