//! `QuantizeLinear` and `DequantizeLinear` between floats and integers, by tensors, axes and blocks.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::quantize::{DequantizeLinear, Granularity, QuantizeLinear};
use inferrum_tensor::DType;

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, c_type, float_type, word, words};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/quantize.cu");

const ZERO: usize = 2;

/// Elements of a thread: 16 bytes of float32.
const WIDTH: usize = 4;

/// What an operator does.
struct Room {
    axis: i64,
    block: usize,
    /// The type of the integers.
    narrow: DType,
    /// The type in which is divided.
    precision: DType,
    dequantize: bool,
}

impl Room {
    fn of(op: &dyn Any, lowering: &Lowering<'_>) -> Result<Room, Decline> {
        let (data, scale) = (lowering.dtype(0)?, lowering.dtype(1)?);
        if let Some(op) = op.downcast_ref::<QuantizeLinear>() {
            let precision = op.precision(data, scale);
            // An int32 is rounded to the precision, by way of float32.
            if float_type(data).is_none() && (data, precision) != (DType::I32, DType::F32) {
                return Err(Decline(format!("quantisation of {data} in {precision}")));
            }
            let narrow = lowering.output_dtype(0)?;
            return Ok(Room { axis: op.axis, block: op.block_size, narrow, precision, dequantize: false });
        }
        let op = op.downcast_ref::<DequantizeLinear>().ok_or_else(|| Decline("another operator".into()))?;
        let (axis, block, precision) = (op.axis, op.block_size, DType::F32);
        Ok(Room { axis, block, narrow: data, precision, dequantize: true })
    }
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let room = Room::of(op, lowering)?;
    let (least, greatest) = range(room.narrow, room.dequantize)?;
    let typed = |dtype: DType| c_type(dtype).ok_or_else(|| Decline(format!("numbers of {dtype}")));
    let precision = float_type(room.precision);
    let precision = precision.ok_or_else(|| Decline(format!("quotients of {}", room.precision)))?;
    let y = if room.dequantize { lowering.output_float(0)? } else { typed(room.narrow)? };
    let shape = lowering.shape(0)?;
    let granularity = Granularity::of(room.axis, room.block, &shape, &lowering.shape(1)?)
        .map_err(|error| Decline(error.to_string()))?;
    let (name, axis, size) = match granularity {
        Granularity::Tensor => ("BY_TENSOR", None, 1),
        Granularity::Axis(axis) => ("BY_AXIS", Some(axis), 1),
        Granularity::Blocks { axis, size } => ("BY_BLOCKS", Some(axis), size.max(1)),
    };
    let (_, extent, inner) = axis.map_or((1, 1, 1), |axis| shape.split_at_axis(axis));
    let places = words([inner, extent, extent.div_ceil(size), size])?;
    // A thread's elements fill a word at least, and few of them are of another scale.
    let source = Template::new("quantize", SOURCE)
        .define("WIDTH", WIDTH)
        .define("GRANULARITY", name)
        .switch("DEQUANTIZE", room.dequantize)
        .define("X", typed(lowering.dtype(0)?)?)
        .define("Y", y)
        .define("SCALE", lowering.float(1)?)
        .define("NARROW", typed(room.narrow)?)
        .define("P", precision)
        // Differences of int32 are of 33 bits.
        .define("DIFFERENCE", if room.narrow == DType::I32 { "double" } else { "float" })
        .define("LEAST", format!("{least}.0f"))
        .define("GREATEST", format!("{greatest}.0f"))
        .build();
    let elements = shape.elements();
    word(elements.saturating_add(BLOCK * WIDTH))?;
    let operands = [
        Operand::Input(0),
        Operand::Input(1),
        lowering.optional(ZERO),
        Operand::Output(0),
        Operand::word(elements)?,
        Operand::words(&places),
    ];
    let name = if room.dequantize { "dequantize" } else { "quantize" };
    Ok(Lowered::one(name, Kernel::over(elements.div_ceil(WIDTH), source, &operands)?))
}

/// What an integer type holds; int32 is only dequantised.
fn range(dtype: DType, dequantize: bool) -> Result<(i32, i32), Decline> {
    Ok(match dtype {
        DType::I8 => (-128, 127),
        DType::U8 => (0, 255),
        DType::I16 => (-32768, 32767),
        DType::U16 => (0, 65535),
        DType::I32 if dequantize => (0, 0),
        other => return Err(Decline(format!("quantisation to {other}"))),
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

    #[test]
    fn narrow_quotients() {
        agree_on(quantize::narrow_quotients(), Tolerance::EXACT);
    }
}
