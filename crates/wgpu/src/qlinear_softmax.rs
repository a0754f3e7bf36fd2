//! `QLinearSoftmax` with constant scales, to the rounding of f32.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::qlinear_softmax::QLinearSoftmax;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand};
use crate::quantize::QUOTIENT;
use crate::requantize::{QUANTIZED, constant_float, constant_int, range};
use crate::shader::{FUNCTIONS, Template};
use crate::softmax::{SOURCE, lower_rows};
use crate::storage;

pub(crate) fn lower(op: &QLinearSoftmax, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    // The zero point of the input takes no part.
    let x_scale = constant_float(lowering, 1)?;
    let (y_scale, zero) = (constant_float(lowering, 3)?, constant_int(lowering, 4)?);
    let dtype = lowering.dtype(0)?;
    if !(x_scale > 0.0 && y_scale.is_normal()) {
        return Err(Decline("a scale that is not positive".into()));
    }
    // Of all distances that there are between bytes.
    let exponentials: Arc<[u32]> = (0..256)
        .map(|distance| ((-f64::from(x_scale) * f64::from(distance)).exp() as f32).to_bits())
        .collect();
    let element = storage::words(dtype).ok_or_else(|| Decline(format!("rows of {dtype}")))?;
    let (least, most) = range(dtype)?;
    let mut bindings = Bindings::default();
    bindings.read("x", element, Operand::Input(0));
    bindings.read("exponentials", "f32", Operand::Table(exponentials));
    bindings.write("y", element, Operand::Output(0));
    let template = Template::new("qlinear softmax", SOURCE)
        .including(FUNCTIONS)
        .including(QUOTIENT)
        .including(QUANTIZED);
    let exponential = "exponentials[u32(-distance)]";
    let steps =
        format!("quotient(exponential(distance), sum) * bitcast<f32>({}u)", (1.0 / y_scale).to_bits());
    let result = format!("{element}(quantized({steps}, {zero}, {least}, {most}))");
    lower_rows(template, &op.softmax, exponential, &result, bindings, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::qlinear_softmax;

    #[test]
    fn every_axis_and_length() {
        agree_on(qlinear_softmax::every_axis_and_length(), Tolerance::EXACT);
    }
}
