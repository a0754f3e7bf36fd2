//! `LpNormalization` of f32 along the innermost axis.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::lp_norm::LpNormalization;
use inferrum_tensor::DType;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::reduce::fold::{MagnitudeSum, SquareSum, fold_row};
use crate::simd::{self, Isa, Kernel, Simd};

struct Rows {
    extent: usize,
    p: u8,
    isa: Isa,
}

pub(crate) fn lower(op: &LpNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (_, extent, inner) = shape.split_at_axis(axis);
    if inner != 1 || extent == 0 {
        return Err(Decline(format!("{inner} elements lie between neighbours of an axis of {extent}")));
    }
    Ok(Lowered::new("lp norm", Rows { extent, p: op.p, isa: lowering.isa }).in_place(&[0]))
}

impl NodeKernel for Rows {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.optional::<f32>(0)?;
        let y: &mut [f32] = io.output(0)?;
        if x.is_some_and(|x| x.len() != y.len()) {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let rows = ((1 << 14) / self.extent).max(1);
        io.threads.par_chunks_mut(y, rows * self.extent, |index, y| {
            if let Some(x) = x {
                y.copy_from_slice(&x[index * rows * self.extent..][..y.len()]);
            }
            self.isa.dispatch(Chunk { of: self, y });
        });
        Ok(())
    }
}

struct Chunk<'a> {
    of: &'a Rows,
    y: &'a mut [f32],
}

impl Kernel for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.y.chunks_exact_mut(self.of.extent) {
            let norm = if self.of.p == 1 {
                fold_row(s, MagnitudeSum, row, 0.0)
            } else {
                fold_row(s, SquareSum, row, 0.0).sqrt()
            };
            if norm == 0.0 {
                row.fill(0.0);
            } else {
                let norm = s.splat(norm as f32);
                simd::map_in_place(
                    s,
                    row,
                    #[inline(always)]
                    |x| s.div(x, norm),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random};
    use inferrum_tensor::Tensor;

    #[test]
    fn rows_of_every_length() {
        for p in [1, 2] {
            for shape in [&[17][..], &[3, 1], &[2, 5, 127], &[100, 512], &[0, 3]] {
                let op = LpNormalization { axis: -1, p };
                agree(op, &[random(shape, 1)], Tolerance { relative: 1e-6, absolute: 1e-7 });
            }
            agree(
                LpNormalization { axis: 1, p },
                &[Tensor::zeros(DType::F32, [2, 3]).unwrap()],
                Tolerance::EXACT,
            );
        }
    }
}
