//! `QLinearConv` of images of one or two axes.

use inferrum_backend::Decline;
use inferrum_ops::qlinear_conv::QLinearConv;

use crate::integer_conv::{IntegerConv, lower_integer_conv};
use crate::kernel::{Lowered, Lowering, Operand};
use crate::requantize::Epilogue;

const BIAS: usize = 8;

pub(crate) fn lower(op: &QLinearConv, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places = IntegerConv { x_zero: 2, w: 3, w_zero: 5 };
    lower_integer_conv(&op.conv, places, lowering, |filters| {
        let epilogue = Epilogue::rescaled([1, 4, 6], filters, "row", None, 7, lowering)?;
        Ok(if lowering.has(BIAS) {
            epilogue.reading("i32", "bias", Operand::Input(BIAS)).with_sum("i32(u32(sum) + u32(bias[row]))")
        } else {
            epilogue
        })
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
