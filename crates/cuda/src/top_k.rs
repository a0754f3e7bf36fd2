//! `TopK` for a constant k: rows are ranked where they are short, selected by digits and sorted otherwise.

use inferrum_backend::Decline;
use inferrum_ops::top_k::TopK;
use inferrum_tensor::DType;

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, c_type};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/top_k.cu");

/// Elements that are sorted in shared memory.
const MOST: usize = 2048;

/// Elements of a row up to which all are compared with all.
const SHORT: usize = 256;

/// Elements from which on a row takes a block of 1024 threads.
const LONG: usize = 4096;

pub(crate) fn lower(op: &TopK, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    Operand::word(shape.elements())?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let k = TopK::count(&lowering.ints(1)?, Some(extent)).map_err(|error| Decline(error.to_string()))?;
    let short = extent <= SHORT;
    if k > MOST && !short {
        return Err(Decline(format!("the first {k} elements, the kernel takes {MOST}")));
    }
    let rows = outer.saturating_mul(inner);
    let element = c_type(dtype).ok_or_else(|| Decline(format!("elements of {dtype}")))?;
    // The kind of numbers, the type that floats are compared in, and that of keys.
    let (kind, number, (key, bytes)) = match dtype {
        DType::F16 | DType::BF16 | DType::F32 => (0, "float", ("u32", 4)),
        DType::F64 => (0, "double", ("u64", 8)),
        DType::I64 => (1, "i64", ("u64", 8)),
        DType::U64 => (2, "u64", ("u64", 8)),
        DType::I8 | DType::I16 | DType::I32 => (1, "i32", ("u32", 4)),
        _ => (2, "u32", ("u32", 4)),
    };
    let room = k.next_power_of_two();
    let threads = if extent < LONG { BLOCK } else { 1024 };
    let source = Template::new("top_k", SOURCE)
        .define("X", element)
        .define("E", number)
        .define("KEY", key)
        .define("KIND", kind)
        .define("SHORT", if short { SHORT } else { 0 })
        .define("THREADS", format!("{threads}u"))
        .define("ROOM", format!("{}u", if short { 0 } else { room }))
        .switch("LARGEST", op.largest)
        .switch("VALUES", lowering.wants(0))
        .switch("INDICES", lowering.wants(1))
        .build();
    let operands = [
        Operand::Input(0),
        lowering.wanted(0),
        lowering.wanted(1),
        Operand::word(rows)?,
        Operand::word(extent)?,
        Operand::word(inner)?,
        Operand::word(k)?,
    ];
    if short {
        let blocks = rows.div_ceil(BLOCK / 32);
        return Ok(Lowered::one("top k of short rows", Kernel::blocks(blocks, BLOCK, source, &operands)?));
    }
    let kernel = Kernel::blocks(rows, threads, source, &operands)?;
    Ok(Lowered::one("top k", Kernel { shared: (room * (bytes + 4)) as u32, ..kernel }))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::top_k;

    #[test]
    fn along_every_axis() {
        agree_on(top_k::along_every_axis(), Tolerance::EXACT);
    }

    #[test]
    fn equals_and_nan() {
        agree_on(top_k::equals_and_nan(), Tolerance::EXACT);
    }

    #[test]
    fn of_every_type() {
        agree_on(top_k::of_every_type(), Tolerance::EXACT);
    }
}
