//! `Softmax`, `LogSoftmax` of f32 along any axis.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::softmax::Softmax;
use inferrum_tensor::DType;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::{self, Isa, Kernel, Simd, math};
use crate::threads::Shared;

/// Rows of `extent` elements.
struct Rows {
    extent: usize,
    log: bool,
    isa: Isa,
}

pub(crate) fn lower(op: &Softmax, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let (_, extent, inner) = op.extents(&lowering.shape(0)?).map_err(|error| Decline(error.to_string()))?;
    if inner != 1 && extent != 0 {
        return Ok(Lowered::new(
            "softmax columns",
            Columns { extent, inner, log: op.log, isa: lowering.isa },
        ));
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
            let greatest = s.max_lane(simd::fold(
                s,
                row,
                f32::NEG_INFINITY,
                #[inline(always)]
                |a, b| s.max(a, b),
            ));
            let shift = s.splat(greatest);
            if self.log {
                let sum: f32 = s.sum(exp_sum(s, row, shift));
                let shift = s.splat(greatest + sum.ln());
                simd::map_in_place(
                    s,
                    row,
                    #[inline(always)]
                    |x| s.sub(x, shift),
                );
            } else {
                simd::map_in_place(
                    s,
                    row,
                    #[inline(always)]
                    |x| math::exp(s, s.sub(x, shift)),
                );
                let scale = s.splat(
                    1.0 / s.sum(simd::fold(
                        s,
                        row,
                        0.0,
                        #[inline(always)]
                        |a, b| s.add(a, b),
                    )),
                );
                simd::map_in_place(
                    s,
                    row,
                    #[inline(always)]
                    |x| s.mul(x, scale),
                );
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

/// `extent` rows of `inner` elements, again and again; each column of `extent` is normalised.
struct Columns {
    extent: usize,
    inner: usize,
    log: bool,
    isa: Isa,
}

/// Columns that are normalised together.
const TOGETHER: usize = 256;

impl NodeKernel for Columns {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let (x, y): (&[f32], &mut [f32]) = (io.input(0)?, io.output(0)?);
        if x.len() != y.len() {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        if y.is_empty() {
            return Ok(());
        }
        let blocks = self.inner.div_ceil(TOGETHER);
        let (tasks, y) = (x.len() / (self.extent * self.inner) * blocks, Shared(y.as_mut_ptr()));
        let group = (16384 / (self.extent * TOGETHER.min(self.inner))).max(1);
        io.threads.par_for(tasks.div_ceil(group), |index| {
            for task in index * group..tasks.min((index + 1) * group) {
                let start = task / blocks * self.extent * self.inner + task % blocks * TOGETHER;
                let columns = TOGETHER.min(self.inner - task % blocks * TOGETHER);
                self.isa.dispatch(ColumnsOf { of: self, x, y, start, columns });
            }
        });
        Ok(())
    }
}

/// `columns` columns, of which the first begins with element `start`.
struct ColumnsOf<'a> {
    of: &'a Columns,
    x: &'a [f32],
    y: Shared<f32>,
    start: usize,
    columns: usize,
}

impl Kernel for ColumnsOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ColumnsOf { of, x, y, start, columns } = self;
        let (mut greatest, mut sum) = ([f32::NEG_INFINITY; TOGETHER], [0f32; TOGETHER]);
        let (greatest, sum) = (&mut greatest[..columns], &mut sum[..columns]);
        let row = |i: usize| &x[start + i * of.inner..][..columns];
        for i in 0..of.extent {
            simd::zip_in_place(
                s,
                greatest,
                row(i),
                #[inline(always)]
                |a, b| s.max(a, b),
            );
        }
        for i in 0..of.extent {
            // SAFETY: the output is as long as the input, and other tasks write other columns.
            let out = unsafe { std::slice::from_raw_parts_mut(y.get().add(start + i * of.inner), columns) };
            simd::zip(
                s,
                row(i),
                greatest,
                out,
                #[inline(always)]
                |x, shift| s.sub(x, shift),
            );
            if of.log {
                simd::zip_in_place(
                    s,
                    sum,
                    out,
                    #[inline(always)]
                    |sum, x| s.add(sum, math::exp(s, x)),
                );
            } else {
                simd::map_in_place(
                    s,
                    out,
                    #[inline(always)]
                    |x| math::exp(s, x),
                );
                simd::zip_in_place(
                    s,
                    sum,
                    out,
                    #[inline(always)]
                    |sum, x| s.add(sum, x),
                );
            }
        }
        simd::map_in_place(
            s,
            sum,
            #[inline(always)]
            |sum| if of.log { math::log(s, sum) } else { s.div(s.splat(1.0), sum) },
        );
        for i in 0..of.extent {
            // SAFETY: as above.
            let out = unsafe { std::slice::from_raw_parts_mut(y.get().add(start + i * of.inner), columns) };
            simd::zip_in_place(
                s,
                out,
                sum,
                #[inline(always)]
                |x, sum| if of.log { s.sub(x, sum) } else { s.mul(x, sum) },
            );
        }
    }
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
            for (shape, axis) in
                [(&[17, 3][..], 0), (&[2, 5, 300], 1), (&[3, 1, 2], 1), (&[1, 600, 70], -2), (&[0, 2], 0)]
            {
                let op = Softmax { axis, flatten: false, log };
                agree(op, &[random(shape, 7)], Tolerance { relative: 2e-6, absolute: 1e-6 });
            }
        }
    }
}
