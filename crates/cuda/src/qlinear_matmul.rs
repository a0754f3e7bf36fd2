//! `QLinearMatMul` of 8-bit integers.

use inferrum_backend::Decline;
use inferrum_ops::qlinear_matmul::QLinearMatMul;

use crate::integer_product::{IntegerProduct, lower_integer_product};
use crate::kernel::{Lowered, Lowering};
use crate::requantize::Epilogue;

pub(crate) fn lower(_op: &QLinearMatMul, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places = IntegerProduct { a: 0, a_zero: 2, b: 3, b_zero: 5, trans_a: false, trans_b: false };
    lower_integer_product(places, lowering, |columns| {
        Epilogue::rescaled([1, 4, 6], columns, "column", None, 7, lowering)
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
