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
    use super::*;
    use crate::testing::{Tolerance, agree, agree_with, random_of, stored};
    use inferrum_tensor::Tensor;

    #[test]
    fn diagonals_within_and_beyond() {
        for dtype in stored() {
            for shape in [&[5, 5][..], &[2, 3, 17], &[1, 1], &[0, 3], &[3, 0], &[30, 31]] {
                for upper in [false, true] {
                    let x = random_of(dtype, shape, 1);
                    agree(Trilu { upper }, std::slice::from_ref(&x), Tolerance::EXACT);
                    for k in [-1, 3, -400, 1 << 32, i64::MAX, i64::MIN] {
                        for constant in [false, true] {
                            let inputs = [Some((x.clone(), false)), Some((Tensor::scalar(k), constant))];
                            agree_with(Trilu { upper }, &inputs, 1, Tolerance::EXACT);
                        }
                    }
                }
            }
        }
    }
}
