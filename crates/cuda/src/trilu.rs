//! `Trilu`.

use inferrum_backend::Decline;
use inferrum_ops::trilu::Trilu;
use inferrum_tensor::DType;

use crate::copies::{copy_type, element_bytes};
use crate::driver::Argument;
use crate::kernel::{Kernel, Lowered, Lowering, Operand};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/trilu.cu");

pub(crate) fn lower(op: &Trilu, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let &[.., rows, columns] = shape.dims() else { return Err(Decline("no matrices".into())) };
    let (given, known) = if lowering.has(1) && lowering.constant(1).is_none() {
        if lowering.dtype(1)? != DType::I64 || lowering.shape(1)?.elements() != 1 {
            return Err(Decline("the diagonal is not one int64".into()));
        }
        (Operand::Input(1), 0)
    } else {
        let listed = if lowering.has(1) { lowering.ints(1)? } else { vec![0] };
        let &[known] = &listed[..] else { return Err(Decline("several diagonals".into())) };
        (Operand::Nothing, known)
    };
    let source = Template::new("trilu", SOURCE)
        .define("T", copy_type(element_bytes(lowering.dtype(0)?)?))
        .switch("UPPER", op.upper)
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Output(0),
        given,
        Operand::Value(Argument::value(&known)),
        Operand::word(shape.elements())?,
        Operand::word(rows)?,
        Operand::word(columns)?,
    ];
    Ok(Lowered::one("triangle", Kernel::over(shape.elements(), source, &operands)?))
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
