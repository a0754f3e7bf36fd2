//! `CumSum`, `CumProd`: floats are added up in float32, integers wrap.

use inferrum_backend::Decline;
use inferrum_ops::cum_sum::Cumulative;
use inferrum_tensor::DType;

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, c_type};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/cum_sum.cu");

/// Elements from which on a block goes through a column together, unless there are columns enough for a thread each.
const LONG: usize = 64;
const MANY_COLUMNS: usize = 1 << 15;

pub(crate) fn lower(op: &Cumulative, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    Operand::word(shape.elements())?;
    let axis =
        Cumulative::axis(&lowering.ints(1)?, shape.rank()).map_err(|error| Decline(error.to_string()))?;
    let element = c_type(dtype).ok_or_else(|| Decline(format!("running totals of {dtype}")))?;
    // The lowest bits of sums and products are the same for numbers with a sign.
    let total = match dtype {
        DType::F16 | DType::BF16 | DType::F32 => "float",
        DType::F64 => "double",
        DType::I64 | DType::U64 => "u64",
        _ => "u32",
    };
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let columns = outer.saturating_mul(inner);
    let scan = extent >= LONG && columns < MANY_COLUMNS;
    let source = Template::new("cum_sum", SOURCE)
        .define("X", element)
        .define("TOTAL", total)
        .define("START", if op.product { format!("{total}(1)") } else { format!("{total}(0)") })
        .define("JOIN(a, b)", if op.product { "((a) * (b))" } else { "((a) + (b))" })
        .switch("REVERSE", op.reverse)
        .switch("EXCLUSIVE", op.exclusive)
        .switch("SCAN", scan)
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Output(0),
        Operand::word(columns)?,
        Operand::word(extent)?,
        Operand::word(inner)?,
    ];
    if scan {
        return Ok(Lowered::one("scan", Kernel::blocks(columns, BLOCK, source, &operands)?));
    }
    Ok(Lowered::one("running totals", Kernel::over(columns, source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on, declined};
    use inferrum_backend::testing::cum_sum;
    use inferrum_ops::cum_sum::Cumulative;
    use inferrum_tensor::Tensor;

    #[test]
    fn every_way_along_every_axis() {
        agree_on(cum_sum::every_way_along_every_axis(), Tolerance { relative: 1e-4, absolute: 1e-4 });
    }

    #[test]
    fn carries_go_into_the_high_word() {
        agree_on(cum_sum::carries_go_into_the_high_word(), Tolerance::EXACT);
    }

    #[test]
    fn integers_of_every_width() {
        agree_on(cum_sum::integers_of_every_width(), Tolerance::EXACT);
    }

    #[test]
    fn an_axis_that_is_not_known_is_declined() {
        let op = Cumulative { product: false, exclusive: false, reverse: false };
        let open = [(Tensor::vector(vec![2f32, 3.0]), false), (Tensor::scalar(0i64), false)];
        assert!(declined(op, &open).contains("not constant"));
    }
}
