//! `CumSum`, `CumProd` of 32-bit numbers, `CumSum` of 64-bit integers; floats are added up in f32.

use inferrum_backend::Decline;
use inferrum_ops::cum_sum::Cumulative;
use inferrum_tensor::DType;

use crate::kernel::{Dispatch, Lowered, Lowering, Operand, linear_groups, words};
use crate::shader::Template;
use crate::storage;

const SOURCE: &str = include_str!("../../../shaders/cum_sum.wgsl");

/// Elements from which on a workgroup goes through a column together, unless there are as many columns as invocations that a GPU
/// has at once.
const LONG: usize = 128;
const MANY_COLUMNS: usize = 4096;

pub(crate) fn lower(op: &Cumulative, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    let axis =
        Cumulative::axis(&lowering.ints(1)?, shape.rank()).map_err(|error| Decline(error.to_string()))?;
    let wide = matches!(dtype, DType::I64 | DType::U64);
    let stored = match dtype {
        DType::I64 | DType::U64 if op.product => return Err(Decline(format!("products of {dtype}"))),
        DType::F16 | DType::F32 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => storage::words(dtype),
        _ => None,
    };
    let stored = stored.ok_or_else(|| Decline(format!("running totals of {dtype}")))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let columns = outer * inner;
    let scan = extent >= LONG && columns < MANY_COLUMNS;
    let params = words([columns, extent, inner])?;
    let shader = Template::new("cum_sum", SOURCE)
        .with("type", if dtype == DType::F16 { "f32" } else { stored })
        .with("element", stored)
        .switch("wide", wide)
        .switch("product", op.product)
        .switch("reverse", op.reverse)
        .switch("exclusive", op.exclusive)
        .switch("scan", scan)
        .params(params.len())
        .build();
    let operands = [Operand::Input(0), Operand::Output(0)];
    let dispatch = if scan {
        let operands = operands.into_iter().collect();
        Dispatch { shader, operands, params, groups: linear_groups(columns)? }
    } else {
        Dispatch::over(columns, shader, &operands, params)?
    };
    Ok(Lowered::one(if scan { "scan" } else { "running totals" }, dispatch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_on, declined};
    use inferrum_backend::testing::cum_sum;
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
    fn what_has_no_kernel_is_declined() {
        let axis = || Tensor::scalar(0i64);
        let op = |product| Cumulative { product, exclusive: false, reverse: false };
        let wide = [(Tensor::vector(vec![2i64, 3]), false), (axis(), true)];
        let Some(reason) = declined(op(true), &wide) else { return };
        assert!(reason.contains("products of"), "{reason}");
        let open = [(Tensor::vector(vec![2f32, 3.0]), false), (axis(), false)];
        assert!(declined(op(false), &open).unwrap_or_default().contains("not constant"));
    }
}
