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
    use super::*;
    use crate::testing::{Tolerance, agree_with, bytes, convolutions};
    use inferrum_tensor::DType;

    #[test]
    fn windows_of_every_kind_are_exact() {
        for (x, w, conv) in convolutions() {
            for (dtype, weights) in [(DType::U8, DType::I8), (DType::I8, DType::U8)] {
                for constant in [false, true] {
                    let zero = |dtype, shape: &[usize]| Some((bytes(dtype, shape, 5), constant));
                    let inputs = |x_zero, w_zero| {
                        let (x, w) = (bytes(dtype, &x, 1), bytes(weights, &w, 2));
                        [Some((x, false)), Some((w, constant)), x_zero, w_zero]
                    };
                    let op = || ConvInteger { conv: conv.clone() };
                    agree_with(op(), &inputs(None, None), 1, Tolerance::EXACT);
                    agree_with(op(), &inputs(zero(dtype, &[]), None), 1, Tolerance::EXACT);
                    let both = inputs(zero(dtype, &[1]), zero(weights, &w[..1]));
                    agree_with(op(), &both, 1, Tolerance::EXACT);
                }
            }
        }
    }
}
