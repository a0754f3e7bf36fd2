//! `SkipLayerNormalization` and its simplified form, of f32.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::skip_layer_norm::SkipLayerNormalization;
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::moments::Moments;
use crate::simd::{self, Isa, Kernel, Simd};
use crate::threads::Shared;

struct Rows {
    op: SkipLayerNormalization,
    hidden: usize,
    rows: usize,
    /// Rows after which what is added starts over.
    skip_rows: usize,
    isa: Isa,
}

const TASK: usize = 1 << 14;

pub(crate) fn lower(op: &SkipLayerNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let (shape, skip) = (lowering.shape(0)?, lowering.shape(1)?);
    let hidden = shape.last().copied().filter(|&hidden| hidden > 0);
    let hidden = hidden.ok_or_else(|| Decline("rows without elements".into()))?;
    let ones = skip.iter().take_while(|&&extent| extent == 1).count();
    if !shape.ends_with(&skip[ones..]) || skip.last() != Some(&hidden) {
        return Err(Decline(format!("{skip} repeats along an inner axis of {shape}")));
    }
    let kernel = Rows {
        op: op.clone(),
        hidden,
        rows: shape.elements() / hidden,
        skip_rows: Shape::from(&skip[..skip.rank() - 1]).elements(),
        isa: lowering.isa,
    };
    Ok(Lowered::new("skip layer norm", kernel))
}

impl NodeKernel for Rows {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let (x, skip, gamma): (&[f32], &[f32], &[f32]) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let beta = self.op.beta().map_or(Ok(None), |index| io.optional::<f32>(index))?;
        let bias = io.optional::<f32>(self.op.bias())?;
        let y: &mut [f32] = io.output(0)?;
        let further = [1, 2, 3].map(|index| io.optional_output::<f32>(index));
        let [mean, inverse, sum] = further;
        let (mean, inverse, sum) = (mean?, inverse?, sum?);
        let vector = |v: &[f32]| v.len() == self.hidden;
        let fits = x.len() == self.rows * self.hidden
            && y.len() == x.len()
            && skip.len() == self.skip_rows * self.hidden
            && vector(gamma)
            && beta.is_none_or(vector)
            && bias.is_none_or(vector)
            && [&mean, &inverse].into_iter().flatten().all(|values| values.len() == self.rows)
            && sum.as_ref().is_none_or(|sum| sum.len() == x.len());
        if !fits {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let share = |values: Option<&mut [f32]>| values.map(|values| Shared(values.as_mut_ptr()));
        let (mean, inverse, sum) = (share(mean), share(inverse), share(sum));
        let rows = (TASK / self.hidden).max(1);
        io.threads.par_chunks_mut(y, rows * self.hidden, |index, y| {
            let first = index * rows;
            let chunk = Chunk { of: self, x, skip, gamma, beta, bias, y, first, mean, inverse, sum };
            self.isa.dispatch(chunk);
        });
        Ok(())
    }
}

/// Some rows, of which the first is row `first`.
struct Chunk<'a> {
    of: &'a Rows,
    x: &'a [f32],
    skip: &'a [f32],
    gamma: &'a [f32],
    beta: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
    first: usize,
    mean: Option<Shared<f32>>,
    inverse: Option<Shared<f32>>,
    sum: Option<Shared<f32>>,
}

impl Kernel for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Chunk { of, x, skip, gamma, beta, bias, y, first, mean, inverse, sum } = self;
        let hidden = of.hidden;
        for (i, y) in y.chunks_exact_mut(hidden).enumerate() {
            let row = first + i;
            let (x, skip) = (&x[row * hidden..][..hidden], &skip[row % of.skip_rows * hidden..][..hidden]);
            simd::zip(
                s,
                x,
                skip,
                y,
                #[inline(always)]
                |a, b| s.add(a, b),
            );
            if let Some(bias) = bias {
                simd::zip_in_place(
                    s,
                    y,
                    bias,
                    #[inline(always)]
                    |a, b| s.add(a, b),
                );
            }
            // SAFETY: `run` has checked that these have a value for each row (element); rows are of one task each.
            unsafe {
                if let Some(sum) = sum {
                    std::ptr::copy_nonoverlapping(y.as_ptr(), sum.get().add(row * hidden), hidden);
                }
                let moments = if of.op.simplified {
                    Moments::about_zero(s, y, of.op.epsilon)
                } else {
                    Moments::of(s, y, of.op.epsilon)
                };
                moments.normalize(s, None, y, gamma, beta);
                for (values, value) in [(mean, moments.mean), (inverse, moments.inverse)] {
                    if let Some(values) = values {
                        *values.get().add(row) = value;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};

    #[test]
    fn with_and_without_each_input_and_output() {
        for simplified in [false, true] {
            for outputs in [1, 4] {
                for (shape, skip) in [
                    (&[2, 5, 33][..], &[2, 5, 33][..]),
                    (&[2, 5, 33], &[5, 33]),
                    (&[2, 5, 64], &[1, 5, 64]),
                    (&[70, 300], &[300]),
                ] {
                    let hidden = shape[shape.len() - 1];
                    let vector = |seed| Some((random(&[hidden], seed), false));
                    let first = |seed| Some((random(shape, seed), false));
                    for given in 0..4 {
                        let mut inputs = vec![first(1), Some((random(skip, 2), false)), vector(3)];
                        if !simplified {
                            inputs.push(vector(4).filter(|_| given & 1 > 0));
                        }
                        inputs.push(vector(5).filter(|_| given & 2 > 0));
                        let op = SkipLayerNormalization { epsilon: 1e-5, simplified, outputs };
                        agree_with(op, &inputs, outputs, Tolerance { relative: 3e-6, absolute: 3e-6 });
                    }
                }
            }
        }
    }
}
