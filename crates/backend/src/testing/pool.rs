//! `MaxPool`, `AveragePool` and `LpPool`.

use inferrum_ops::pool::{AveragePool, LpPool, MaxPool};
use inferrum_ops::window::WindowSpec;
use inferrum_tensor::{DType, Tensor};

use super::{Case, given, random, random_of, windows};

const SHAPES: [(&[usize], &[usize]); 6] = [
    (&[2, 3, 9, 8], &[3, 3]),
    (&[1, 2, 17, 5], &[2, 3]),
    (&[2, 3, 21], &[4]),
    (&[0, 3, 9, 9], &[2, 2]),
    (&[1, 1, 7, 7], &[1, 1]),
    (&[2, 3, 6, 7, 8], &[3, 2, 3]),
];

/// Images and volumes, strides, dilations, pads at the end, and windows that begin inside.
fn specs(kernel: &[usize]) -> Vec<WindowSpec> {
    [
        (1, 1, [0, 0], false),
        (2, 1, [0, 1], false),
        (2, 1, [0, 0], true),
        (3, 1, [0, 0], true),
        (1, 2, [0, 0], false),
    ]
    .into_iter()
    .map(|(stride, dilation, pads, ceil)| WindowSpec { ceil, ..windows(kernel, stride, dilation, pads) })
    .collect()
}

/// Every pool of every shape and window.
pub fn windows_of_every_kind() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, kernel) in SHAPES {
        for window in specs(kernel) {
            let x = random(shape, 1);
            let max = MaxPool { window: window.clone(), column_major: false, indices: false };
            for x in [x.clone(), random_of(DType::U8, shape, 1), random_of(DType::I8, shape, 1)] {
                cases.push(Case { slack: 0.0, ..Case::new(max.clone(), given([x]), 1) });
            }
            for count_include_pad in [false, true] {
                let op = AveragePool { window: window.clone(), count_include_pad };
                cases.push(Case::new(op, given([x.clone()]), 1));
            }
            for p in [3.0, 2.0] {
                let op = LpPool { window: window.clone(), p };
                cases.push(Case { slack: 5.0, ..Case::new(op, given([x.clone()]), 1) });
            }
        }
    }
    cases
}

/// One window that is the whole image.
pub fn whole_images() -> Vec<Case> {
    let case = |shape: &[usize]| {
        let window = windows(&shape[2..], 1, 1, [0, 0]);
        let op = AveragePool { window, count_include_pad: false };
        Case::new(op, given([random(shape, 1)]), 1)
    };
    [&[2usize, 3, 7, 7][..], &[1, 5, 8], &[2, 2, 3, 4, 2]].map(case).into()
}

/// NaN and minus infinity are among the elements.
pub fn a_number_beats_nan() -> Vec<Case> {
    let op = MaxPool { window: windows(&[2], 1, 1, [1, 1]), column_major: false, indices: false };
    let x = vec![f32::NAN, 1.0, f32::NEG_INFINITY, f32::NAN, f32::NAN];
    let x = Tensor::from_vec([1, 1, 5], x).expect("as many numbers as elements");
    vec![Case::new(op, given([x]), 1)]
}

/// Where they are, in both orders; equals are many among bytes.
pub fn indices_of_the_greatest() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, kernel) in SHAPES {
        for column_major in [false, true] {
            let window = WindowSpec { ceil: true, ..windows(kernel, 2, 1, [0, 1]) };
            let op = MaxPool { window, column_major, indices: true };
            for dtype in [DType::F32, DType::U8] {
                cases.push(Case::new(op.clone(), given([random_of(dtype, shape, 1)]), 2));
            }
        }
    }
    cases
}
