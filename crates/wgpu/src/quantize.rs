//! `QuantizeLinear` and `DequantizeLinear` between f32 and integers, by tensors, axes and blocks.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::quantize::{DequantizeLinear, Granularity, QuantizeLinear};
use inferrum_tensor::DType;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::requantize;
use crate::shader::{FUNCTIONS, Template};
use crate::storage;

const SOURCE: &str = include_str!("../../../shaders/quantize.wgsl");

/// Exact quotients, for [`Template::including`].
pub(crate) const QUOTIENT: &str = include_str!("../../../shaders/quotient.wgsl");

const ZERO: usize = 2;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let (data, output) = (lowering.dtype(0)?, lowering.output_dtype(0)?);
    let (axis, block, narrow, dequantize) =
        match (any.downcast_ref::<QuantizeLinear>(), any.downcast_ref::<DequantizeLinear>()) {
            (Some(op), _) if data != DType::F32 || op.precision(data, lowering.dtype(1)?) != DType::F32 => {
                return Err(Decline(format!("quantisation of {data}, or in another precision")));
            }
            (Some(op), _) => (op.axis, op.block_size, output, false),
            (None, Some(_)) if output != DType::F32 => return Err(Decline(format!("an output of {output}"))),
            (None, Some(op)) => (op.axis, op.block_size, data, true),
            (None, None) => return Err(Decline("another operator".into())),
        };
    if lowering.dtype(1)? != DType::F32 {
        return Err(Decline(format!("a scale of {}", lowering.dtype(1)?)));
    }
    let (least, greatest) = range(narrow, dequantize)?;
    let element = storage::words(narrow).ok_or_else(|| Decline(format!("integers of {narrow}")))?;
    let shape = lowering.shape(0)?;
    let granularity = Granularity::of(axis, block, &shape, &lowering.shape(1)?)
        .map_err(|error| Decline(error.to_string()))?;
    let (place, axis, size) = match granularity {
        Granularity::Tensor => ("0u", None, 1),
        Granularity::Axis(axis) => ("(at / param(1u)) % param(2u)", Some(axis), 1),
        Granularity::Blocks { axis, size } => (
            "((at / param(1u) / param(2u)) * param(3u) + (at / param(1u)) % param(2u) / param(4u)) * param(1u) \
             + at % param(1u)",
            Some(axis),
            size.max(1),
        ),
    };
    let (_, extent, inner) = axis.map_or((1, 1, 1), |axis| shape.split_at_axis(axis));
    let params = words([shape.elements(), inner, extent, extent.div_ceil(size), size])?;
    let (from, to) = if dequantize { (element, "f32") } else { ("f32", element) };
    let mut bindings = Bindings::default();
    bindings.read("x", from, Operand::Input(0));
    bindings.read("scale", "f32", Operand::Input(1));
    let zero = lowering.has(ZERO);
    if zero {
        bindings.read("zero", element, Operand::Input(ZERO));
    }
    bindings.write("y", to, Operand::Output(0));
    let name = if dequantize { "dequantize" } else { "quantize" };
    let shader = Template::new(name, SOURCE)
        .including(FUNCTIONS)
        .including(QUOTIENT)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .with("place", place)
        .with("narrow", element)
        .with("least", format!("{least}.0"))
        .with("greatest", format!("{greatest}.0"))
        .switch("zero", zero)
        .switch("dequantize", dequantize)
        .build();
    Ok(Lowered::one(name, Dispatch::over(shape.elements(), shader, bindings.operands(), params)?))
}

/// What an integer type holds; i32 is only dequantised.
fn range(dtype: DType, dequantize: bool) -> Result<(i32, i32), Decline> {
    Ok(match dtype {
        DType::I16 => (-32768, 32767),
        DType::U16 => (0, 65535),
        DType::I32 if dequantize => (0, 0),
        bytes => requantize::range(bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::quantize;

    #[test]
    fn tensors_axes_and_blocks() {
        agree_on(quantize::tensors_axes_and_blocks(), Tolerance::CLOSE);
    }

    #[test]
    fn out_of_range() {
        agree_on(quantize::out_of_range(), Tolerance::EXACT);
    }

    #[test]
    fn near_halves() {
        agree_on(quantize::near_halves(), Tolerance::EXACT);
    }
}
