//! `ConvInteger` of images of one or two axes.

use inferrum_backend::Decline;
use inferrum_ops::conv_integer::ConvInteger;

use crate::integer_conv::{IntegerConv, lower_integer_conv};
use crate::kernel::{Lowered, Lowering};
use crate::requantize::Epilogue;

pub(crate) fn lower(op: &ConvInteger, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places = IntegerConv { x_zero: 2, w: 1, w_zero: 3 };
    lower_integer_conv(&op.conv, places, lowering, |_| Ok(Epilogue::sums()))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::conv_integer;

    #[test]
    fn windows_of_every_kind() {
        agree_on(conv_integer::windows_of_every_kind(), Tolerance::EXACT);
    }
}
