//! `QLinearSoftmax` with constant scales, exactly.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::qlinear_softmax::QLinearSoftmax;
use inferrum_tensor::DType;

use crate::driver::Argument;
use crate::kernel::{Lowered, Lowering, Operand, c_type};
use crate::rows::Rows;
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/qlinear_softmax.cu");

pub(crate) fn lower(op: &QLinearSoftmax, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    // The zero point of the input takes no part.
    let (x_scale, y_scale) = (constant_scale(lowering, 1)?, constant_scale(lowering, 3)?);
    let zero = if lowering.has(4) { lowering.ints(4)? } else { vec![0] };
    let (&[zero], true) = (&zero[..], x_scale > 0.0 && y_scale > 0.0) else {
        return Err(Decline("a scale that is not positive, or several zero points".into()));
    };
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    Operand::word(shape.elements())?;
    let (outer, extent, inner) = op.softmax.extents(&shape).map_err(|error| Decline(error.to_string()))?;
    let count = outer.saturating_mul(inner);
    // Of all distances that there are between bytes.
    let exponentials: Arc<[u8]> =
        (0..256).flat_map(|distance| (-x_scale * f64::from(distance)).exp().to_ne_bytes()).collect();
    let (least, most) = if dtype == DType::I8 { (-128, 127) } else { (0, 255) };
    // Numbers are held in 4 bytes.
    let rows = Rows::of(count, extent, inner, 4, lowering.abilities);
    let source = rows
        .fill(Template::new("qlinear_softmax", SOURCE))
        .define("X", c_type(dtype).ok_or_else(|| Decline(format!("rows of {dtype}")))?)
        .define("LEAST", format!("({least})"))
        .define("MOST", most)
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Table(exponentials),
        Operand::Output(0),
        Operand::word(count)?,
        Operand::word(extent)?,
        Operand::word(inner)?,
        Operand::Value(Argument::value(&y_scale)),
        Operand::Value(Argument::value(&(zero as i32))),
    ];
    Ok(Lowered::one("qlinear softmax", rows.launch(source, &operands)?))
}

/// The constant float at a place.
fn constant_scale(lowering: &Lowering<'_>, place: usize) -> Result<f64, Decline> {
    let numbers = lowering.constant(place).and_then(|tensor| tensor.to_f64().ok());
    match numbers.as_deref() {
        Some(&[scale]) => Ok(scale),
        _ => Err(Decline(format!("input {place} is no constant scalar"))),
    }
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
