//! `Pad` in every mode, of elements of any size.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::pad::{Pad, PadMode};
use inferrum_tensor::{DType, collected};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::tables::TableCopy;

struct Padded {
    copy: TableCopy,
    fill: Fill,
}

/// What stands in the new places.
enum Fill {
    /// These bytes.
    Known(Vec<u8>),
    /// The bytes of input 2.
    Input,
}

pub(crate) fn lower(op: &Pad, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let order: Vec<usize> = (0..lowering.shape(0)?.rank()).collect();
    lower_in(op, &order, lowering)
}

/// As [`lower`], of a tensor whose axes are laid out in another order: axis `i` is the operator's axis `order[i]`.
pub(crate) fn lower_in(op: &Pad, order: &[usize], lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    let axes = lowering.has(3).then(|| lowering.ints(3)).transpose()?;
    let declined = |error: OpError| Decline(error.to_string());
    let pads = Pad::pads(shape.rank(), &lowering.ints(1)?, axes.as_deref()).map_err(declined)?;
    let output = lowering.output_shape(0)?;
    if output.elements() == 0 {
        // An empty tensor may have axes of any extent, which the tables would follow.
        return Err(Decline("there is nothing to give".into()));
    }
    let table = |axis: usize| {
        let (before, after) = pads[order[axis]];
        let cut = |pad: i64| usize::try_from(pad.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let left = shape[axis].saturating_sub(cut(before)).saturating_sub(cut(after));
        let source = |index: usize| {
            let at = i64::try_from(index).ok()?.saturating_sub(before.max(0));
            op.mode.source(at, left).map(|at| at + cut(before))
        };
        collected(output[axis], (0..output[axis]).map(source)).map_err(|error| Decline(error.to_string()))
    };
    let tables = (0..shape.rank()).map(table).collect::<Result<Vec<_>, _>>()?;
    let whole = |table: &Vec<Option<usize>>| table.iter().all(Option::is_some);
    if op.mode != PadMode::Constant && !tables.iter().all(whole) {
        return Err(Decline("there is nothing to pad with".into()));
    }
    let fill = fill(dtype, lowering)?;
    let known = matches!(fill, Fill::Known(_));
    let copy = TableCopy::new(dtype.size(), &shape, &tables)?;
    let unread: &[usize] = if known { &[1, 2, 3] } else { &[1, 3] };
    Ok(Lowered::new("pad", Padded { copy, fill }).packed(unread))
}

fn fill(dtype: DType, lowering: &Lowering<'_>) -> Result<Fill, Decline> {
    if !lowering.has(2) {
        return Ok(Fill::Known(vec![0; dtype.size()]));
    }
    let Some(constant) = lowering.constant(2) else {
        let same = lowering.dtype(2)? == dtype;
        return if same { Ok(Fill::Input) } else { Err(Decline("the constant is of another type".into())) };
    };
    let constant = Pad::constant(dtype, Some(constant)).map_err(|error| Decline(error.to_string()))?;
    Ok(Fill::Known(constant.map_or_else(|| vec![0; dtype.size()], |constant| constant.bytes().to_vec())))
}

impl NodeKernel for Padded {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let data = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let fill = match &self.fill {
            Fill::Known(bytes) => bytes,
            Fill::Input => io.view(2).ok_or(OpError::MissingInput { index: 2 })?.bytes,
        };
        let output = io.output_bytes(0)?;
        self.copy.run(io.threads, data, output, fill)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::Tensor;

    fn check(mode: PadMode, shape: &[usize], pads: &[i64], axes: Option<&[i64]>) {
        for dtype in [DType::F32, DType::U8, DType::I64, DType::BF16] {
            for constant in [None, Some(false), Some(true)] {
                let inputs = [
                    Some((random_of(dtype, shape, 1), false)),
                    Some((Tensor::vector(pads.to_vec()), true)),
                    constant.map(|constant| (Tensor::from_f64(dtype, [], &[2.0]).unwrap(), constant)),
                    axes.map(|axes| (Tensor::vector(axes.to_vec()), true)),
                ];
                agree_with(Pad { mode }, &inputs, 1, Tolerance::EXACT);
            }
        }
    }

    #[test]
    fn every_mode_on_every_side() {
        for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
            check(mode, &[3, 4], &[1, 2, 2, 1], None);
            check(mode, &[2, 3, 20, 30], &[0, 0, 3, 3, 0, 0, 2, 5], None);
            check(mode, &[2, 3, 20, 30], &[1, 1], Some(&[-2]));
            check(mode, &[9, 11], &[-1, -2, -3, 4], None);
            check(mode, &[300, 200], &[1, 1, 1, 1], None);
            check(mode, &[5], &[0, 0], None);
        }
        check(PadMode::Constant, &[0, 3], &[1, 0, 1, 0], None);
        check(PadMode::Constant, &[4], &[-2, -2], None);
    }
}
