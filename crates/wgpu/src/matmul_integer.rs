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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::matmul_integer;

    #[test]
    fn every_type_and_size() {
        agree_on(matmul_integer::every_type_and_size(), Tolerance::EXACT);
    }

    #[test]
    fn batches_broadcast() {
        agree_on(matmul_integer::batches_broadcast(), Tolerance::EXACT);
    }

    #[test]
    fn the_greatest_sums() {
        agree_on(matmul_integer::the_greatest_sums(), Tolerance::EXACT);
    }

    #[test]
    fn floats_with_scales_and_bias() {
        agree_on(matmul_integer::floats_with_scales_and_bias(), Tolerance { relative: 1e-6, absolute: 1e-6 });
    }
}
