//! `Resize`.

use inferrum_ops::resize::{Coordinates, Mode, Policy, Resize, Rounding};
use inferrum_tensor::{DType, Tensor};

use super::{Case, random_of};

const COORDINATES: [Coordinates; 7] = [
    Coordinates::HalfPixel,
    Coordinates::HalfPixelSymmetric,
    Coordinates::PytorchHalfPixel,
    Coordinates::AlignCorners,
    Coordinates::Asymmetric,
    Coordinates::HalfPixelForNearest,
    Coordinates::CropAndResize,
];

/// Shapes, and what they become.
const SIZES: &[(&[usize], &[i64])] = &[
    (&[2, 3, 5, 7], &[2, 3, 10, 14]),
    (&[1, 2, 9, 8], &[1, 2, 4, 17]),
    (&[1, 5, 7, 3], &[1, 9, 4, 3]),
    (&[6], &[11]),
    (&[2, 3, 4], &[3, 5, 2]),
    (&[2, 40], &[2, 40]),
];

fn resize(mode: Mode, coordinates: Coordinates) -> Resize {
    Resize {
        mode,
        coordinates,
        antialias: false,
        exclude_outside: false,
        extrapolation: 7.5,
        axes: None,
        policy: Policy::Stretch,
        scales_at: 2,
    }
}

fn case(op: Resize, dtype: DType, shape: &[usize], sizes: &[i64]) -> Case {
    let rank = sizes.len();
    let region: Vec<f32> = (0..2 * rank).map(|i| if i < rank { -0.1 } else { 0.9 }).collect();
    let slack = if matches!(op.mode, Mode::Nearest(_)) { 0.0 } else { 1.0 };
    let inputs = vec![
        Some((random_of(dtype, shape, 1), false)),
        Some((Tensor::vector(region), true)),
        None,
        Some((Tensor::vector(sizes.to_vec()), true)),
    ];
    Case { slack, ..Case::new(op, inputs, 1) }
}

/// Every mode and transformation of coordinates.
pub fn modes_and_transformations() -> Vec<Case> {
    let mut cases = Vec::new();
    for (coordinates, &(shape, sizes)) in
        COORDINATES.into_iter().flat_map(|coordinates| SIZES.iter().map(move |size| (coordinates, size)))
    {
        for rounding in [Rounding::PreferFloor, Rounding::PreferCeil, Rounding::Floor, Rounding::Ceil] {
            let op = resize(Mode::Nearest(rounding), coordinates);
            cases.push(case(op.clone(), DType::F32, shape, sizes));
            // What lies outside of a region is a float.
            if coordinates != Coordinates::CropAndResize {
                cases.push(case(op.clone(), DType::U8, shape, sizes));
                cases.push(case(op, DType::I64, shape, sizes));
            }
        }
        for mode in [Mode::Linear, Mode::Cubic(-0.75)] {
            for (antialias, exclude_outside) in [(false, false), (true, false), (false, true)] {
                let op = Resize { antialias, exclude_outside, ..resize(mode, coordinates) };
                cases.push(case(op, DType::F32, shape, sizes));
            }
        }
    }
    cases
}

/// So many that a device shares them out in groups, of neighbours that are resized and that are not.
pub fn many_elements() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, sizes) in [
        (&[2usize, 3, 40, 40][..], &[2i64, 3, 80, 80][..]),
        (&[1, 30, 20, 16], &[1, 60, 41, 16]),
        (&[1, 2, 100, 90], &[1, 2, 130, 133]),
    ] {
        for (mode, coordinates) in [
            (Mode::Nearest(Rounding::Floor), Coordinates::Asymmetric),
            (Mode::Linear, Coordinates::HalfPixel),
            (Mode::Linear, Coordinates::CropAndResize),
        ] {
            cases.push(case(resize(mode, coordinates), DType::F32, shape, sizes));
        }
        let op = resize(Mode::Nearest(Rounding::Floor), Coordinates::Asymmetric);
        cases.push(case(op, DType::U8, shape, sizes));
    }
    cases
}

/// Scales where old and new models have them.
pub fn scales_of_either_place() -> Vec<Case> {
    let case = |scales_at: usize| {
        let op = Resize { scales_at, ..resize(Mode::Linear, Coordinates::Asymmetric) };
        let mut inputs = vec![Some((random_of(DType::F32, &[1, 2, 30, 40], 1), false)), None, None];
        inputs[scales_at] = Some((Tensor::vector(vec![1f32, 1.0, 2.0, 0.5]), true));
        inputs.truncate(scales_at + 1);
        Case::new(op, inputs, 1)
    };
    [1, 2].map(case).into()
}
