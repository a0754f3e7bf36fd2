//! `QLinearMatMul` of 8-bit integers with constant scales.

use inferrum_backend::Decline;
use inferrum_ops::qlinear_matmul::QLinearMatMul;

use crate::integer_product::{IntegerProduct, lower_integer_product};
use crate::kernel::{Lowered, Lowering};
use crate::requantize::{Epilogue, constant_float, constant_floats, constant_int};

pub(crate) fn lower(_op: &QLinearMatMul, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places = IntegerProduct { a: 0, a_zero: 2, b: 3, b_zero: 5, trans_a: false, trans_b: false };
    let (a, y, zero) =
        (constant_float(lowering, 1)?, constant_float(lowering, 6)?, constant_int(lowering, 7)?);
    // In the order of the operator.
    let factors: Vec<f32> = constant_floats(lowering, 4)?.iter().map(|b| a * b / y).collect();
    let dtype = lowering.output_dtype(0)?;
    lower_integer_product(places, lowering, |bindings, _| {
        Epilogue::quantized(&factors, "column", zero, dtype, bindings)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, bytes};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn every_type_is_exact() {
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
                    let inputs = [
                        Some((bytes(a, x, seed), false)),
                        scalar(0.05),
                        Some((bytes(a, &[], seed + 1), false)),
                        Some((bytes(b, w, seed + 2), w.len() == 2)),
                        Some((Tensor::from_vec(scales, scale.clone()).unwrap(), true)),
                        Some((bytes(b, scales, seed + 3), true)),
                        scalar(y_scale),
                        Some((bytes(y, &[], seed + 4), true)),
                    ];
                    agree_with(QLinearMatMul, &inputs, 1, Tolerance::EXACT);
                }
            }
        }
    }
}
