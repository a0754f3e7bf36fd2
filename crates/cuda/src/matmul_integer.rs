//! `MatMulInteger` and `MatMulIntegerToFloat`.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::matmul_integer::MatMulIntegerToFloat;

use crate::integer_product::{IntegerProduct, lower_integer_product};
use crate::kernel::{Lowered, Lowering};
use crate::requantize::{Epilogue, Scale};

const A_SCALE: usize = 2;
const B_SCALE: usize = 3;
const BIAS: usize = 6;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places = IntegerProduct { a: 0, a_zero: 2, b: 1, b_zero: 3, trans_a: false, trans_b: false };
    if !(op as &dyn Any).is::<MatMulIntegerToFloat>() {
        return lower_integer_product(places, lowering, |_| Ok(Epilogue::sums()));
    }
    let places = IntegerProduct { a_zero: 4, b_zero: 5, ..places };
    lower_integer_product(places, lowering, |columns| scaled(columns, lowering))
}

/// Sums times both scales, and the bias.
fn scaled(columns: usize, lowering: &Lowering<'_>) -> Result<Epilogue, Decline> {
    let a = Scale::of("a_scale", A_SCALE, "0", 1, lowering)?;
    let b = Scale::of("b_scale", B_SCALE, "column", columns, lowering)?;
    let mut text = format!("float(sum) * ({} * {})", a.text, b.text);
    let bias = match lowering.has(BIAS) {
        true => Some(Scale::of("bias", BIAS, "column", columns, lowering)?),
        false => None,
    };
    if let Some(bias) = &bias {
        text.push_str(&format!(" + {}", bias.text));
    }
    let epilogue = Epilogue::floats(lowering.output_float(0)?, text).scaled(a).scaled(b);
    Ok(match bias {
        Some(bias) => epilogue.scaled(bias),
        None => epilogue,
    })
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
