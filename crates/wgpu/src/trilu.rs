//! `Trilu`.

use inferrum_backend::Decline;
use inferrum_ops::trilu::Trilu;
use inferrum_tensor::DType;

use crate::copies::{copy_type, element_bytes};
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/trilu.wgsl");

pub(crate) fn lower(op: &Trilu, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let &[.., rows, columns] = shape.dims() else { return Err(Decline("no matrices".into())) };
    let mut params = words([shape.elements(), rows, columns])?;
    let mut operands = vec![Operand::Input(0), Operand::Output(0)];
    let read = lowering.has(1) && lowering.constant(1).is_none();
    if read {
        if lowering.dtype(1)? != DType::I64 || lowering.shape(1)?.elements() != 1 {
            return Err(Decline("the diagonal is not one int64".into()));
        }
        operands.push(Operand::Input(1));
    } else {
        let listed = if lowering.has(1) { lowering.ints(1)? } else { vec![0] };
        let &[k] = &listed[..] else { return Err(Decline("several diagonals".into())) };
        // No diagonal is as far away as the ends of 32 bits.
        params.push(k.clamp(i64::from(-i32::MAX), i64::from(i32::MAX)) as i32 as u32);
    }
    let shader = Template::new("trilu", SOURCE)
        .with("type", copy_type(element_bytes(lowering.dtype(0)?)?))
        .switch("upper", op.upper)
        .switch("diagonal", read)
        .params(params.len())
        .build();
    Ok(Lowered::one("triangle", Dispatch::over(shape.elements(), shader, &operands, params)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on, stored};
    use inferrum_backend::testing::trilu;

    #[test]
    fn diagonals_within_and_beyond() {
        agree_on(trilu::diagonals_within_and_beyond(&stored()), Tolerance::EXACT);
    }
}
