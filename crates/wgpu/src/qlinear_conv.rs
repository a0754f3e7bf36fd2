//! `QLinearConv` of images of one or two axes, with constant scales.

use inferrum_backend::Decline;
use inferrum_ops::qlinear_conv::QLinearConv;

use crate::integer_conv::{IntegerConv, lower_integer_conv};
use crate::kernel::{Lowered, Lowering, Operand};
use crate::requantize::{Epilogue, constant_float, constant_floats, constant_int};

const BIAS: usize = 8;

pub(crate) fn lower(op: &QLinearConv, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places = IntegerConv { x_zero: 2, w: 3, w_zero: 5 };
    let (x, y, zero) =
        (constant_float(lowering, 1)?, constant_float(lowering, 6)?, constant_int(lowering, 7)?);
    // In the order of the operator.
    let factors: Vec<f32> = constant_floats(lowering, 4)?.iter().map(|w| x * w / y).collect();
    let dtype = lowering.output_dtype(0)?;
    lower_integer_conv(&op.conv, places, lowering, |bindings| {
        let mut epilogue = Epilogue::quantized(&factors, "of_filter", zero, dtype, bindings)?;
        if lowering.has(BIAS) {
            bindings.read("bias", "i32", Operand::Input(BIAS));
            epilogue.text = epilogue.text.replace("f32(sum)", "f32(sum + bias[of_filter])");
        }
        Ok(epilogue)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, bytes, convolutions, random_of};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn windows_of_every_kind_are_exact() {
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
                    let op = || QLinearConv { conv: conv.clone() };
                    agree_with(op(), &inputs, 1, Tolerance::EXACT);
                    inputs.push(Some((random_of(DType::I32, &w[..1], 7), true)));
                    agree_with(op(), &inputs, 1, Tolerance::EXACT);
                }
            }
        }
    }
}
