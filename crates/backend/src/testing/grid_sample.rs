//! `GridSample`.

use inferrum_ops::grid_sample::{GridSample, Mode, Padding};
use inferrum_tensor::DType;

use super::{Case, given, random, random_of};

/// Every mode and padding, of images of one to three axes.
pub fn every_mode_and_padding() -> Vec<Case> {
    let mut cases = Vec::new();
    for (image, places) in [
        (&[2usize, 3, 17][..], &[5usize][..]),
        (&[2, 3, 5, 7], &[4, 3]),
        (&[1, 2, 1, 9], &[17, 1]),
        (&[1, 2, 3, 4, 5], &[2, 3, 2]),
        (&[0, 2, 3], &[4]),
        (&[1, 2, 3], &[0]),
    ] {
        let axes = image.len() - 2;
        let grid: Vec<usize> = [image[0]].iter().chain(places).chain(&[axes]).copied().collect();
        for mode in [Mode::Nearest, Mode::Linear, Mode::Cubic] {
            for padding in [Padding::Zeros, Padding::Border, Padding::Reflection] {
                for align_corners in [false, true] {
                    let op = GridSample { mode, padding, align_corners };
                    cases.push(Case::new(op.clone(), given([random(image, 1), random(&grid, 2)]), 1));
                    if mode == Mode::Nearest {
                        let inputs = given([random_of(DType::I64, image, 1), random(&grid, 3)]);
                        cases.push(Case { slack: 0.0, ..Case::new(op, inputs, 1) });
                    }
                }
            }
        }
    }
    cases
}
