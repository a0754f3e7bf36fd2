//! `QLinearSoftmax`.

use inferrum_ops::qlinear_softmax::QLinearSoftmax;
use inferrum_ops::softmax::Softmax;
use inferrum_tensor::{DType, Tensor};

use super::{Case, bytes};

/// Rows side by side and apart, short and long, at several scales.
pub fn every_axis_and_length() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::U8, DType::I8] {
        for (shape, axis, flatten) in [
            (&[3usize, 17][..], -1, false),
            (&[3, 17], 0, false),
            (&[2, 5, 127], 1, true),
            (&[2, 130, 7], 1, false),
            (&[2, 1300], 1, false),
            (&[0, 3], 1, false),
        ] {
            for (x_scale, y_scale) in [(0.03f32, 1.0f32 / 256.0), (0.4, 1.0 / 255.0), (0.001, 0.0007)] {
                let softmax = Softmax { axis, flatten, log: false };
                let inputs = vec![
                    Some((bytes(dtype, shape, 1), false)),
                    Some((Tensor::scalar(x_scale), true)),
                    Some((bytes(dtype, &[], 2), true)),
                    Some((Tensor::scalar(y_scale), true)),
                    Some((bytes(dtype, &[], 3), true)),
                ];
                cases.push(Case::new(QLinearSoftmax { softmax }, inputs, 1));
            }
        }
    }
    cases
}
