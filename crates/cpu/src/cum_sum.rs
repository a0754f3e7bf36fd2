//! `CumSum`, `CumProd` along any axis.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::cum_sum::Cumulative;
use inferrum_tensor::DType;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};

/// `outer` times `extent` rows of `inner` elements; running totals of each column of `extent`, of type `A`.
struct Running<T, A> {
    op: Cumulative,
    extent: usize,
    inner: usize,
    start: A,
    join: fn(A, T) -> A,
    total: fn(A) -> T,
}

/// Columns that are gone through together.
const COLUMNS: usize = 64;
const TASK: usize = 1 << 14;

pub(crate) fn lower(op: &Cumulative, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let axis =
        Cumulative::axis(&lowering.ints(1)?, shape.rank()).map_err(|error| Decline(error.to_string()))?;
    let (_, extent, inner) = shape.split_at_axis(axis);
    macro_rules! running {
        ($T:ty, $A:ty, $sum:expr, $product:expr, $total:expr) => {{
            let (start, join): ($A, fn($A, $T) -> $A) =
                if op.product { (1 as $A, $product) } else { (0 as $A, $sum) };
            Lowered::new(
                "running totals",
                Running::<$T, $A> { op: op.clone(), extent, inner, start, join, total: $total },
            )
        }};
    }
    let lowered = match lowering.dtype(0)? {
        DType::F32 => running!(f32, f64, |a, x| a + f64::from(x), |a, x| a * f64::from(x), |a| a as f32),
        DType::F64 => running!(f64, f64, |a, x| a + x, |a, x| a * x, |a| a),
        DType::I64 => running!(i64, i64, i64::wrapping_add, i64::wrapping_mul, |a| a),
        DType::I32 => running!(i32, i32, i32::wrapping_add, i32::wrapping_mul, |a| a),
        dtype => return Err(Decline(format!("{dtype}"))),
    };
    Ok(lowered.packed(&[1]))
}

impl<T: bytemuck::Pod + Send + Sync, A: Copy + Send + Sync> NodeKernel for Running<T, A> {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let misfit = || OpError::Invalid("a buffer does not fit its shape".into());
        let x = io.view(0).ok_or(OpError::MissingInput { index: 0 })?.bytes;
        let x: &[T] = bytemuck::try_cast_slice(x).map_err(|_| misfit())?;
        let y: &mut [T] = bytemuck::try_cast_slice_mut(io.output_bytes(0)?).map_err(|_| misfit())?;
        if x.len() != y.len() {
            return Err(misfit());
        }
        if y.is_empty() {
            return Ok(());
        }
        let row = self.extent * self.inner;
        let rows = (TASK / row).max(1);
        io.threads.par_chunks_mut(y, rows * row, |index, y| {
            let x = &x[index * rows * row..][..y.len()];
            for (x, y) in x.chunks_exact(row).zip(y.chunks_exact_mut(row)) {
                (0..self.inner).step_by(COLUMNS).for_each(|start| self.columns(x, y, start));
            }
        });
        Ok(())
    }
}

impl<T: Copy, A: Copy> Running<T, A> {
    /// Goes through at most [`COLUMNS`] columns from `start` on.
    fn columns(&self, x: &[T], y: &mut [T], start: usize) {
        let n = COLUMNS.min(self.inner - start);
        let mut totals = [self.start; COLUMNS];
        for step in 0..self.extent {
            let place = if self.op.reverse { self.extent - 1 - step } else { step } * self.inner + start;
            let rows = x[place..place + n].iter().zip(&mut y[place..place + n]);
            for ((&x, y), total) in rows.zip(&mut totals) {
                let before = *total;
                *total = (self.join)(before, x);
                *y = (self.total)(if self.op.exclusive { before } else { *total });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::Tensor;

    #[test]
    fn every_way_along_every_axis() {
        for dtype in [DType::F32, DType::F64, DType::I64, DType::I32] {
            for (shape, axis) in [
                (&[17][..], 0),
                (&[3, 100], 1),
                (&[100, 3], 0),
                (&[2, 30, 70], -2),
                (&[0, 2], 0),
                (&[300, 200], 1),
            ] {
                for product in [false, true] {
                    for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
                        let op = Cumulative { product, exclusive, reverse };
                        let inputs = [
                            Some((random_of(dtype, shape, 2), false)),
                            Some((Tensor::scalar(axis as i64), true)),
                        ];
                        agree_with(op, &inputs, 1, Tolerance { relative: 1e-6, absolute: 1e-6 });
                    }
                }
            }
        }
    }
}
