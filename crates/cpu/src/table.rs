//! Functions of bytes as tables.

use inferrum_backend::{Decline, Loops};
use inferrum_graph::OpError;
use inferrum_ops::fused::table::Table;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};

/// Elements that a thread takes at once.
const TASK: usize = 1 << 14;

/// Looks up each element.
struct One;

/// Looks up each pair of elements.
struct Two {
    loops: Loops,
}

pub(crate) fn lower(_op: &Table, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if !lowering.has(Table::Y) {
        return Ok(Lowered::new("table", One));
    }
    let shapes = [lowering.shape(Table::X)?, lowering.shape(Table::Y)?];
    let loops = Loops::broadcast(&lowering.output_shape(0)?, &shapes.each_ref())?;
    Ok(Lowered::new("table of pairs", Two { loops }))
}

/// The bytes of an input, at least `least` of them.
fn bytes<'a>(io: &Io<'a>, place: usize, least: usize) -> Result<&'a [u8], OpError> {
    let bytes = io.view(place).ok_or(OpError::MissingInput { index: place })?.bytes;
    if bytes.len() < least {
        return Err(OpError::Invalid("a buffer does not fit its shape".into()));
    }
    Ok(bytes)
}

impl NodeKernel for One {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let table = bytes(&io, Table::TABLE, Table::ONE)?.first_chunk::<{ Table::ONE }>();
        let table = table.ok_or(OpError::MissingInput { index: Table::TABLE })?;
        let x = bytes(&io, Table::X, 0)?;
        let y = io.output_bytes(0)?;
        if x.len() != y.len() {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        io.threads.par_chunks_mut(y, TASK, |index, y| {
            y.iter_mut().zip(&x[index * TASK..]).for_each(|(y, &x)| *y = table[usize::from(x)]);
        });
        Ok(())
    }
}

impl Two {
    /// Where the operands of row `row` of the innermost loop start.
    fn starts(&self, row: usize) -> [usize; 2] {
        let mut rest = row;
        let mut starts = [0isize; 2];
        let dims = self.loops.dims();
        for axis in (0..dims.len() - 1).rev() {
            let at = (rest % dims[axis]) as isize;
            rest /= dims[axis];
            for (operand, start) in starts.iter_mut().enumerate() {
                *start += at * self.loops.strides(operand)[axis];
            }
        }
        starts.map(|start| start.unsigned_abs())
    }
}

impl NodeKernel for Two {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let table = bytes(&io, Table::TABLE, Table::TWO)?.first_chunk::<{ Table::TWO }>();
        let table = table.ok_or(OpError::MissingInput { index: Table::TABLE })?;
        let (a, b) = (bytes(&io, Table::X, 0)?, bytes(&io, Table::Y, 0)?);
        let inner = self.loops.inner();
        let steps = [0, 1].map(|operand| self.loops.inner_stride(operand).unsigned_abs());
        let y = io.output_bytes(0)?;
        if y.is_empty() {
            return Ok(());
        }
        let rows = (TASK / inner).max(1);
        io.threads.par_chunks_mut(y, rows * inner, |index, y| {
            for (i, y) in y.chunks_exact_mut(inner).enumerate() {
                let [at_a, at_b] = self.starts(index * rows + i);
                for (j, y) in y.iter_mut().enumerate() {
                    let (a, b) = (a[at_a + j * steps[0]], b[at_b + j * steps[1]]);
                    *y = table[256 * usize::from(a) + usize::from(b)];
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random_of};
    use inferrum_tensor::{DType, Tensor};

    fn table(dtype: DType, values: usize) -> Tensor {
        let least = if dtype == DType::I8 { -128 } else { 0 };
        let values: Vec<i64> = (0..values as i64).map(|i| (i * 37 + i / 256 * 11) % 256 + least).collect();
        Tensor::from_i64(dtype, [values.len()], &values).unwrap()
    }

    #[test]
    fn functions_of_one_and_two_bytes() {
        for (dtype, to) in [(DType::U8, DType::U8), (DType::I8, DType::U8), (DType::U8, DType::I8)] {
            for shape in [&[][..], &[1], &[17], &[0, 3], &[3, 127], &[5, 40, 127]] {
                let x = random_of(dtype, shape, 1);
                agree(Table, &[table(to, Table::ONE), x], Tolerance::EXACT);
            }
            for (a, b) in [
                (&[17][..], &[17][..]),
                (&[3, 1], &[1, 5]),
                (&[2, 3, 400], &[3, 1]),
                (&[], &[70, 300]),
                (&[4, 1, 3], &[2, 1]),
                (&[0, 3], &[3]),
            ] {
                let inputs = [table(to, Table::TWO), random_of(dtype, a, 1), random_of(dtype, b, 2)];
                agree(Table, &inputs, Tolerance::EXACT);
            }
        }
    }
}
