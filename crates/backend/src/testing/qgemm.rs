//! `QGemm`.

use inferrum_ops::qgemm::QGemm;
use inferrum_tensor::{DType, Tensor};

use super::{Case, bytes, random_of};

/// Stored either way, with every addend; quantised results are exact.
pub fn stored_either_way_with_every_addend() -> Vec<Case> {
    let (m, k, n) = (18, 37, 21);
    let mut cases = Vec::new();
    for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
        for addend in [None, Some(vec![n]), Some(vec![m, n]), Some(vec![m, 1]), Some(vec![])] {
            for quantised in [false, true] {
                let (a, b) = (if trans_a { [k, m] } else { [m, k] }, if trans_b { [n, k] } else { [k, n] });
                let scales: Vec<f32> = (0..n).map(|i| 0.01 + 0.002 * i as f32).collect();
                let mut inputs = vec![
                    Some((bytes(DType::U8, &a, 1), false)),
                    Some((Tensor::scalar(0.05f32), true)),
                    Some((Tensor::scalar(117u8), true)),
                    Some((bytes(DType::I8, &b, 2), true)),
                    Some((Tensor::vector(scales), true)),
                    Some((bytes(DType::I8, &[n], 3), true)),
                    addend.as_ref().map(|shape| (random_of(DType::I32, shape, 4), true)),
                ];
                if quantised {
                    inputs.push(Some((Tensor::scalar(2.3f32), true)));
                    inputs.push(Some((Tensor::scalar(-5i8), true)));
                }
                let slack = if quantised { 0.0 } else { 1.0 };
                let op = QGemm { alpha: 0.7, trans_a, trans_b };
                cases.push(Case { slack, ..Case::new(op, inputs, 1) });
            }
        }
    }
    cases
}
