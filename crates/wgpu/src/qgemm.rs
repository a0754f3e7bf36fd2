//! `QGemm` with constant scales.

use inferrum_backend::{Decline, Loops};
use inferrum_ops::qgemm::QGemm;

use crate::integer_product::{IntegerProduct, lower_integer_product};
use crate::kernel::{Lowered, Lowering, Operand};
use crate::requantize::{Epilogue, constant_float, constant_floats, constant_int};
use crate::strides::{loop_words, offsets};

const C: usize = 6;
const Y_SCALE: usize = 7;
const Y_ZERO: usize = 8;

pub(crate) fn lower(op: &QGemm, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places =
        IntegerProduct { a: 0, a_zero: 2, b: 3, b_zero: 5, trans_a: op.trans_a, trans_b: op.trans_b };
    let a = constant_float(lowering, 1)?;
    let y = if lowering.has(Y_ZERO) { Some(constant_float(lowering, Y_SCALE)?) } else { None };
    let factor = |b: &f32| op.alpha * a * b / y.unwrap_or(1.0);
    let factors: Vec<f32> = constant_floats(lowering, 4)?.iter().map(factor).collect();
    let zero = constant_int(lowering, Y_ZERO)?;
    let (dtype, shape) = (lowering.output_dtype(0)?, lowering.output_shape(0)?);
    let addend = lowering.has(C).then(|| lowering.shape(C)).transpose()?;
    lower_integer_product(places, lowering, |bindings, params| {
        let mut epilogue = match y {
            Some(_) => Epilogue::quantized(&factors, "column", zero, dtype, bindings)?,
            None => Epilogue::floats(&factors, "column", bindings),
        };
        if let Some(addend) = addend {
            bindings.read("c", "i32", Operand::Input(C));
            let loops = Loops::broadcast(&shape, &[&addend])?;
            let walk = offsets(loops.dims().len(), 1, params.len(), "at");
            params.extend(loop_words(&loops, &[0])?);
            let text = epilogue.text.replace("f32(sum)", "f32(sum + c[offset0])");
            epilogue.text = format!("{walk}{text}");
        }
        Ok(epilogue)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, bytes, random_of};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn stored_either_way_with_every_addend() {
        let (m, k, n) = (18, 37, 21);
        for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
            for addend in [None, Some(vec![n]), Some(vec![m, n]), Some(vec![m, 1]), Some(vec![])] {
                for quantised in [false, true] {
                    let (a, b) =
                        (if trans_a { [k, m] } else { [m, k] }, if trans_b { [n, k] } else { [k, n] });
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
                    let tolerance = if quantised {
                        Tolerance::EXACT
                    } else {
                        Tolerance { relative: 3e-7, absolute: 0.0 }
                    };
                    agree_with(QGemm { alpha: 0.7, trans_a, trans_b }, &inputs, 1, tolerance);
                }
            }
        }
    }
}
