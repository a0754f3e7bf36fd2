//! `QLinearMatMul`.

use inferrum_ops::qlinear_matmul::QLinearMatMul;
use inferrum_tensor::{DType, Tensor};

use super::{Case, bytes};

/// Of every type, with scales of columns or of all.
pub fn every_type() -> Vec<Case> {
    let mut cases = Vec::new();
    for (a, b, y) in [
        (DType::U8, DType::I8, DType::U8),
        (DType::U8, DType::U8, DType::I8),
        (DType::I8, DType::I8, DType::I8),
    ] {
        for (x, w, scales) in [
            (&[5usize, 17][..], &[17usize, 33][..], &[33usize][..]),
            (&[2, 3, 40], &[40, 9], &[]),
            (&[2, 40, 31], &[2, 31, 20], &[1]),
            (&[3, 0], &[0, 5], &[]),
        ] {
            let scale: Vec<f32> =
                (0..scales.iter().product::<usize>()).map(|i| 0.011 + 0.003 * i as f32).collect();
            let scalar = |value: f32| Some((Tensor::scalar(value), true));
            for (y_scale, seed) in [(3.7, 1), (0.001, 2), (40.0, 3)] {
                let inputs = vec![
                    Some((bytes(a, x, seed), false)),
                    scalar(0.05),
                    Some((bytes(a, &[], seed + 1), false)),
                    Some((bytes(b, w, seed + 2), w.len() == 2)),
                    Some((Tensor::from_vec(scales, scale.clone()).expect("as many"), true)),
                    Some((bytes(b, scales, seed + 3), true)),
                    scalar(y_scale),
                    Some((bytes(y, &[], seed + 4), true)),
                ];
                cases.push(Case::new(QLinearMatMul, inputs, 1));
            }
        }
    }
    cases
}
