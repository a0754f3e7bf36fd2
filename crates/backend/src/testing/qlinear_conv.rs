//! `QLinearConv`.

use inferrum_ops::qlinear_conv::QLinearConv;
use inferrum_tensor::{DType, Tensor};

use super::conv_integer::convolutions;
use super::{Case, bytes, random_of};

/// Strided, dilated, grouped and padded, with scales of filters or of all, with a bias and without.
pub fn windows_of_every_kind() -> Vec<Case> {
    let mut cases = Vec::new();
    for (x, w, conv) in convolutions() {
        for (dtype, weights, y) in [
            (DType::U8, DType::I8, DType::U8),
            (DType::I8, DType::I8, DType::I8),
            (DType::U8, DType::U8, DType::I8),
        ] {
            for each in [false, true] {
                let filters = if each { w[0] } else { 1 };
                let scales: Vec<f32> = (0..filters).map(|i| 0.004 + 0.001 * i as f32).collect();
                let mut inputs = vec![
                    Some((bytes(dtype, &x, 1), false)),
                    Some((Tensor::scalar(0.02f32), true)),
                    Some((bytes(dtype, &[], 3), true)),
                    Some((bytes(weights, &w, 2), true)),
                    Some((Tensor::vector(scales), true)),
                    Some((bytes(weights, &[filters], 4), true)),
                    Some((Tensor::scalar(0.31f32), true)),
                    Some((bytes(y, &[], 6), true)),
                ];
                let op = QLinearConv { conv: conv.clone() };
                cases.push(Case::new(op.clone(), inputs.clone(), 1));
                inputs.push(Some((random_of(DType::I32, &w[..1], 7), true)));
                cases.push(Case::new(op, inputs, 1));
            }
        }
    }
    cases
}
