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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::qlinear_matmul;

    #[test]
    fn every_type() {
        agree_on(qlinear_matmul::every_type(), Tolerance::EXACT);
    }
}
