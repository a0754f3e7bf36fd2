//! `Pad`.

use inferrum_ops::pad::{Pad, PadMode};
use inferrum_tensor::{DType, Tensor};

use super::{Case, random_of};

/// Shape, pads, axes.
type Padding = (&'static [usize], &'static [i64], Option<&'static [i64]>);

const ANY: &[Padding] = &[
    (&[3, 4], &[1, 2, 2, 1], None),
    (&[2, 3, 10, 12], &[0, 0, 3, 3, 0, 0, 2, 5], None),
    (&[2, 3, 10, 12], &[1, 1], Some(&[-2])),
    (&[9, 11], &[-1, -2, -3, 4], None),
    (&[3], &[7, 11], None),
    (&[1, 2], &[3, 0, 2, 0], None),
    (&[5], &[0, 0], None),
    (&[], &[], None),
];

/// What only a constant is put around.
const EMPTY: &[Padding] = &[(&[0, 3], &[1, 0, 1, 0], None), (&[4], &[-2, -1], None)];

fn push(cases: &mut Vec<Case>, types: &[DType], mode: PadMode, &(shape, pads, axes): &Padding) {
    for &dtype in types {
        for constant in [None, Some(false), Some(true)] {
            let inputs = vec![
                Some((random_of(dtype, shape, 1), false)),
                Some((Tensor::vector(pads.to_vec()), true)),
                constant.map(|known| (Tensor::from_f64(dtype, [], &[1.0]).expect("a number"), known)),
                axes.map(|axes| (Tensor::vector(axes.to_vec()), true)),
            ];
            cases.push(Case::new(Pad { mode }, inputs, 1));
        }
    }
}

/// Every mode, by pads of either sign, some of them greater than the axis.
pub fn every_mode_on_every_side(types: &[DType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        ANY.iter().for_each(|padding| push(&mut cases, types, mode, padding));
    }
    EMPTY.iter().for_each(|padding| push(&mut cases, types, PadMode::Constant, padding));
    cases
}
