//! `MatMulInteger`, and `MatMulIntegerToFloat` of float32.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::matmul_integer::MatMulIntegerToFloat;
use inferrum_tensor::DType;

use crate::bindings::Bindings;
use crate::integer_product::{IntegerProduct, lower_integer_product};
use crate::kernel::{Lowered, Lowering, Operand};
use crate::requantize::Epilogue;

const A_SCALE: usize = 2;
const B_SCALE: usize = 3;
const BIAS: usize = 6;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places = IntegerProduct { a: 0, a_zero: 2, b: 1, b_zero: 3, trans_a: false, trans_b: false };
    if (op as &dyn Any).is::<MatMulIntegerToFloat>() {
        let places = IntegerProduct { a_zero: 4, b_zero: 5, ..places };
        return lower_integer_product(places, lowering, |bindings, _| scaled(lowering, bindings));
    }
    lower_integer_product(places, lowering, |_, _| Ok(Epilogue::sums()))
}

/// Sums times both scales, and the bias.
fn scaled(lowering: &Lowering<'_>, bindings: &mut Bindings) -> Result<Epilogue, Decline> {
    if lowering.output_dtype(0)? != DType::F32 {
        return Err(Decline(format!("an output of {}", lowering.output_dtype(0)?)));
    }
    let of_column = |place: usize| -> Result<&str, Decline> {
        Ok(if lowering.shape(place)?.elements() == 1 { "0" } else { "column" })
    };
    bindings.read("a_scale", "f32", Operand::Input(A_SCALE));
    bindings.read("b_scale", "f32", Operand::Input(B_SCALE));
    let mut text = format!("f32(sum) * (a_scale[0] * b_scale[{}])", of_column(B_SCALE)?);
    if lowering.has(BIAS) {
        bindings.read("bias", "f32", Operand::Input(BIAS));
        text.push_str(&format!(" + bias[{}]", of_column(BIAS)?));
    }
    Ok(Epilogue { element: "f32", text: format!("    output[at] = {text};") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, bytes, random};
    use inferrum_ops::matmul_integer::MatMulInteger;
    use inferrum_tensor::Tensor;

    const TYPES: [(DType, DType); 4] =
        [(DType::U8, DType::I8), (DType::U8, DType::U8), (DType::I8, DType::I8), (DType::I8, DType::U8)];

    #[test]
    fn every_type_and_size_with_and_without_zero_points() {
        let sizes =
            [(1, 1, 1), (3, 17, 5), (1, 300, 70), (9, 33, 17), (16, 32, 16), (65, 127, 40), (70, 3, 130)];
        for (i, (m, k, n)) in sizes.into_iter().enumerate() {
            // Two of the types by turns.
            for (a, b) in [TYPES[i % 4], TYPES[(i + 1) % 4]] {
                for constant in [false, true] {
                    let seed = (m * k + i) as u64;
                    let zeros =
                        |dtype, shape: &[usize], constant| Some((bytes(dtype, shape, seed + 7), constant));
                    let inputs = |a_zero, b_zero| {
                        let (x, w) = (bytes(a, &[m, k], seed), bytes(b, &[k, n], seed + 1));
                        [Some((x, false)), Some((w, constant)), a_zero, b_zero]
                    };
                    for given in [
                        inputs(None, None),
                        inputs(zeros(a, &[], false), None),
                        inputs(None, zeros(b, &[n], true)),
                        inputs(zeros(a, &[m], true), zeros(b, &[], false)),
                        inputs(zeros(a, &[1], true), zeros(b, &[n], false)),
                    ] {
                        agree_with(MatMulInteger, &given, 1, Tolerance::EXACT);
                    }
                }
            }
        }
    }

    #[test]
    fn batches_broadcast() {
        for (a, b) in [
            (&[2usize, 3, 5, 17][..], &[2usize, 3, 17, 9][..]),
            (&[2, 1, 5, 17], &[3, 17, 9]),
            (&[4, 5, 17], &[17, 9]),
            (&[17], &[4, 17, 9]),
            (&[5, 17], &[17]),
            (&[17], &[17]),
            (&[0, 5, 17], &[17, 3]),
            (&[2, 0], &[0, 3]),
        ] {
            let zero = |seed| Some((bytes(DType::U8, &[], seed), false));
            let x = |shape, seed| Some((bytes(DType::U8, shape, seed), false));
            agree_with(MatMulInteger, &[x(a, 1), x(b, 2), zero(3), zero(4)], 1, Tolerance::EXACT);
        }
        let a_zero = Some((bytes(DType::U8, &[3, 5, 1], 3), false));
        let inputs = [
            Some((bytes(DType::U8, &[3, 5, 17], 1), false)),
            Some((bytes(DType::I8, &[17, 9], 2), true)),
            a_zero,
        ];
        agree_with(MatMulInteger, &inputs, 1, Tolerance::EXACT);
    }

    #[test]
    fn the_greatest_sums_are_exact() {
        for (a, b) in TYPES {
            let all = |dtype: DType, greatest: bool, shape: [usize; 2]| {
                let value = match (dtype, greatest) {
                    (DType::U8, true) => 255,
                    (DType::U8, false) => 0,
                    (_, true) => 127,
                    (_, false) => -128,
                };
                Tensor::from_i64(dtype, shape, &vec![value; shape[0] * shape[1]]).unwrap()
            };
            for (m, greatest_a, greatest_b) in
                [(3, false, false), (20, false, true), (3, true, false), (20, true, true), (20, false, false)]
            {
                let x = Some((all(a, greatest_a, [m, 1000]), false));
                let w = Some((all(b, greatest_b, [1000, 18]), true));
                let zero =
                    |dtype, greatest: bool| Some((all(dtype, !greatest, [1, 1]).reshape([1]).unwrap(), true));
                let inputs = [x, w, zero(a, greatest_a), zero(b, greatest_b)];
                agree_with(MatMulInteger, &inputs, 1, Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn floats_with_scales_and_bias() {
        for (m, k, n) in [(1, 40, 33), (17, 65, 20)] {
            for (scales, bias) in [(&[n][..], true), (&[], false)] {
                let inputs = [
                    Some((bytes(DType::U8, &[m, k], 1), false)),
                    Some((bytes(DType::I8, &[k, n], 2), true)),
                    Some((Tensor::scalar(0.02f32), false)),
                    Some((random(scales, 3), true)),
                    Some((bytes(DType::U8, &[], 4), false)),
                    None,
                    bias.then(|| (random(&[n], 5), true)),
                ];
                let close = Tolerance { relative: 1e-6, absolute: 1e-6 };
                agree_with(MatMulIntegerToFloat, &inputs, 1, close);
            }
        }
    }
}
