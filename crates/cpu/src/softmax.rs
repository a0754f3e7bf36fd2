//! `Softmax`, `LogSoftmax` of f32 along the innermost axis (or all trailing ones).

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::softmax::Softmax;
use inferrum_tensor::DType;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::{self, Isa, Kernel, Simd, math};

/// Rows of `extent` elements.
struct Rows {
    extent: usize,
    log: bool,
    isa: Isa,
}

pub(crate) fn lower(op: &Softmax, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let (_, extent, inner) = op.extents(&lowering.shape(0)?).map_err(|error| Decline(error.to_string()))?;
    if inner != 1 {
        return Err(Decline(format!("the axis is not the innermost: {inner} elements lie between neighbours")));
    }
    Ok(Lowered::new("softmax rows", Rows { extent, log: op.log, isa: lowering.isa }).in_place(&[0]))
}

impl NodeKernel for Rows {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let input = io.optional::<f32>(0)?;
        let output = io.output::<f32>(0)?;
        if output.is_empty() {
            return Ok(());
        }
        // Rows together of about 16 Ki elements make a task worth its overhead.
        let rows = (16384 / self.extent.max(1)).max(1);
        io.threads.par_chunks_mut(output, rows * self.extent, |index, chunk| {
            let start = index * rows * self.extent;
            if let Some(input) = input {
                chunk.copy_from_slice(&input[start..start + chunk.len()]);
            }
            self.isa.dispatch(RowsOf { rows: chunk, extent: self.extent, log: self.log });
        });
        Ok(())
    }
}

/// Normalises rows in place.
struct RowsOf<'a> {
    rows: &'a mut [f32],
    extent: usize,
    log: bool,
}

impl Kernel for RowsOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows.chunks_exact_mut(self.extent) {
            let greatest = s.max_lane(simd::fold(s, row, f32::NEG_INFINITY, |a, b| s.max(a, b)));
            let shift = s.splat(greatest);
            if self.log {
                let sum: f32 = s.sum(exp_sum(s, row, shift));
                let shift = s.splat(greatest + sum.ln());
                simd::map_in_place(s, row, |x| s.sub(x, shift));
            } else {
                simd::map_in_place(s, row, |x| math::exp(s, s.sub(x, shift)));
                let scale = s.splat(1.0 / s.sum(simd::fold(s, row, 0.0, |a, b| s.add(a, b))));
                simd::map_in_place(s, row, |x| s.mul(x, scale));
            }
        }
    }
}

/// Partial sums of `exp(x - shift)`.
#[inline(always)]
fn exp_sum<S: Simd>(s: S, row: &[f32], shift: S::F32) -> S::F32 {
    let mut sum = s.zero();
    let mut chunks = row.chunks_exact(S::LANES);
    for chunk in &mut chunks {
        sum = s.add(sum, math::exp(s, s.sub(s.load(chunk), shift)));
    }
    let tail = chunks.remainder();
    let last = math::exp(s, s.sub(s.load_partial(tail), shift));
    s.add(sum, s.select(s.first(tail.len()), last, s.zero()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, random};

    #[test]
    fn agrees_with_the_reference() {
        for log in [false, true] {
            for shape in [&[1][..], &[3, 17], &[2, 5, 127], &[0, 4], &[4, 0], &[1, 1000], &[65, 256]] {
                let op = Softmax { axis: -1, flatten: false, log };
                agree(op, &[random(shape, 7)], Tolerance { relative: 2e-6, absolute: 1e-7 });
            }
        }
    }
}
