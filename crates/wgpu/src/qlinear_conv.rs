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
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::qlinear_conv;

    #[test]
    fn windows_of_every_kind() {
        agree_on(qlinear_conv::windows_of_every_kind(), Tolerance::EXACT);
    }
}
