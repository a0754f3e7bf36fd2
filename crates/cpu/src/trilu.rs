//! `Trilu` of elements of any size.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::trilu::Trilu;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};

/// Rows of matrices, of which a part is kept.
struct Triangle {
    upper: bool,
    rows: usize,
    /// Bytes of a row and of an element.
    row: usize,
    size: usize,
    /// The diagonal, if it is constant.
    diagonal: Option<i64>,
}

/// Bytes that a thread takes at once, about.
const TASK_BYTES: usize = 1 << 16;

pub(crate) fn lower(op: &Trilu, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let &[.., rows, columns] = shape.dims() else { return Err(Decline("no matrices".into())) };
    let diagonal = match (lowering.has(1), lowering.constant(1)) {
        (false, _) => Some(0),
        (true, None) => None,
        (true, Some(_)) => match lowering.ints(1)?[..] {
            [k] => Some(k),
            _ => return Err(Decline("several diagonals".into())),
        },
    };
    let size = lowering.dtype(0)?.size();
    let kernel = Triangle { upper: op.upper, rows, row: columns * size, size, diagonal };
    let packed: &[usize] = if diagonal.is_some() { &[1] } else { &[] };
    Ok(Lowered::new("triangle", kernel).in_place(&[0]).packed(packed))
}

impl NodeKernel for Triangle {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let diagonal = match self.diagonal {
            Some(k) => k,
            None => *io.input::<i64>(1)?.first().ok_or(OpError::MissingInput { index: 1 })?,
        };
        let x = io.view(0).map(|view| view.bytes);
        let y = io.output_bytes(0)?;
        if y.is_empty() {
            return Ok(());
        }
        if x.is_some_and(|x| x.len() != y.len()) || !y.len().is_multiple_of(self.row) {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let columns = (self.row / self.size) as i64;
        let rows = (TASK_BYTES / self.row).max(1);
        io.threads.par_chunks_mut(y, rows * self.row, |index, y| {
            for (i, y) in y.chunks_exact_mut(self.row).enumerate() {
                let number = index * rows + i;
                // Where the bounding diagonal crosses the row.
                let first = ((number % self.rows) as i64).saturating_add(diagonal);
                let bound = if self.upper { first } else { first.saturating_add(1) };
                let bound = bound.clamp(0, columns) as usize * self.size;
                let (kept, zero) =
                    if self.upper { (bound..self.row, 0..bound) } else { (0..bound, bound..self.row) };
                if let Some(x) = x {
                    y[kept.clone()].copy_from_slice(&x[number * self.row..][kept]);
                }
                y[zero].fill(0);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, agree_with, random_of};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn diagonals_within_and_beyond() {
        for dtype in [DType::F32, DType::I64, DType::Bool, DType::F16] {
            for shape in [&[5, 5][..], &[2, 3, 17], &[3, 127, 4], &[1, 1], &[0, 3], &[3, 0], &[300, 301]] {
                for upper in [false, true] {
                    let x = random_of(dtype, shape, 1);
                    agree(Trilu { upper }, std::slice::from_ref(&x), Tolerance::EXACT);
                    for k in [-1, 1, 3, -400, i64::MAX, i64::MIN] {
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
