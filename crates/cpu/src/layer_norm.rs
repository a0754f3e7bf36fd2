//! `LayerNormalization`, `RMSNormalization` of f32.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator};
use inferrum_ops::layer_norm::{LayerNormalization, RMSNormalization};
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::moments::Moments;
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::Shared;

/// Rows of `extent` elements.
struct Rows {
    extent: usize,
    rows: usize,
    epsilon: f32,
    /// Whether the mean is taken as 0.
    about_zero: bool,
    isa: Isa,
}

/// Elements that a thread takes at once.
const TASK: usize = 1 << 14;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    let (axis, epsilon, stash, about_zero) = if let Some(op) = any.downcast_ref::<LayerNormalization>() {
        (op.axis, op.epsilon, op.stash, false)
    } else if let Some(op) = any.downcast_ref::<RMSNormalization>() {
        (op.axis, op.epsilon, op.stash, true)
    } else {
        return Err(Decline("another operator".into()));
    };
    lowering.require_dtype(DType::F32, &[])?;
    if stash != DType::F32 && (lowering.wants(1) || lowering.wants(2)) {
        return Err(Decline(format!("statistics in {stash}")));
    }
    let shape = lowering.shape(0)?;
    let axis = shape.axis(axis).ok_or_else(|| Decline(format!("axis {axis} is out of range")))?;
    let normalized = &shape[axis..];
    for parameter in (1..=2).filter(|&index| lowering.has(index)) {
        check_parameter(&lowering.shape(parameter)?, normalized)?;
    }
    let (rows, extent) = (Shape::from(&shape[..axis]).elements(), Shape::from(normalized).elements());
    if extent == 0 {
        return Err(Decline("rows without elements".into()));
    }
    let name = if about_zero { "rms norm" } else { "layer norm" };
    Ok(Lowered::new(name, Rows { extent, rows, epsilon, about_zero, isa: lowering.isa }).in_place(&[0]))
}

/// Declines a parameter that has not one element for each of a row, in order.
fn check_parameter(parameter: &Shape, normalized: &[usize]) -> Result<(), Decline> {
    let ones = parameter.iter().take_while(|&&extent| extent == 1).count();
    let (own, row) = (&parameter[ones..], normalized);
    let row_ones = row.iter().take_while(|&&extent| extent == 1).count();
    if own == &row[row_ones..] {
        return Ok(());
    }
    Err(Decline(format!("a parameter of shape {parameter} for rows of {}", Shape::from(normalized))))
}

impl NodeKernel for Rows {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.optional::<f32>(0)?;
        let scale: &[f32] = io.input(1)?;
        let bias = io.optional::<f32>(2)?;
        let y: &mut [f32] = io.output(0)?;
        // The mean, unless it is always 0, and the inverse deviation.
        let mut statistics = [io.optional_output::<f32>(1)?, io.optional_output::<f32>(2)?];
        if self.about_zero {
            statistics.swap(0, 1);
        }
        let fits = x.is_none_or(|x| x.len() == y.len())
            && y.len() == self.rows * self.extent
            && scale.len() == self.extent
            && bias.is_none_or(|bias| bias.len() == self.extent)
            && statistics.iter().flatten().all(|values| values.len() == self.rows);
        if !fits {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        let statistics = statistics.map(|values| values.map(|values| Shared(values.as_mut_ptr())));
        let rows = (TASK / self.extent).max(1);
        io.threads.par_chunks_mut(y, rows * self.extent, |index, y| {
            let first = index * rows;
            let x = x.map(|x| &x[first * self.extent..][..y.len()]);
            self.isa.dispatch(Chunk { of: self, x, y, scale, bias, statistics, first });
        });
        Ok(())
    }
}

/// Some rows, of which the first is row `first`.
struct Chunk<'a> {
    of: &'a Rows,
    x: Option<&'a [f32]>,
    y: &'a mut [f32],
    scale: &'a [f32],
    bias: Option<&'a [f32]>,
    statistics: [Option<Shared<f32>>; 2],
    first: usize,
}

impl Kernel for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Chunk { of, x, y, scale, bias, statistics, first } = self;
        for (i, y) in y.chunks_exact_mut(of.extent).enumerate() {
            let x = x.map(|x| &x[i * of.extent..(i + 1) * of.extent]);
            let row = x.unwrap_or(y);
            let moments = if of.about_zero {
                Moments::about_zero(s, row, of.epsilon)
            } else {
                Moments::of(s, row, of.epsilon)
            };
            moments.normalize(s, x, y, scale, bias);
            for (values, value) in statistics.iter().zip([moments.mean, moments.inverse]) {
                if let Some(values) = values {
                    // SAFETY: `run` has checked that there is a value for each row, and rows are of one task each.
                    unsafe { *values.get().add(first + i) = value };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};
    use inferrum_tensor::Tensor;

    const CLOSE: Tolerance = Tolerance { relative: 2e-6, absolute: 2e-6 };

    fn inputs(shape: &[usize], parameter: &[usize], bias: bool) -> Vec<Option<(Tensor, bool)>> {
        let mut inputs = vec![Some((random(shape, 1), false)), Some((random(parameter, 2), false))];
        if bias {
            inputs.push(Some((random(parameter, 3), true)));
        }
        inputs
    }

    #[test]
    fn rows_of_every_length_with_and_without_statistics() {
        for (shape, axis, parameter) in [
            (&[3, 17][..], -1, &[17][..]),
            (&[2, 5, 127], -1, &[127]),
            (&[2, 3, 4, 5], 2, &[4, 5]),
            (&[2, 3, 4], 0, &[2, 3, 4]),
            (&[1, 3, 4], 0, &[3, 4]),
            (&[100, 768], 1, &[768]),
            (&[2, 5000], -1, &[5000]),
            (&[4, 1], -1, &[1]),
            (&[0, 3], -1, &[3]),
        ] {
            for outputs in [1, 3] {
                let op = LayerNormalization { axis, epsilon: 1e-5, stash: DType::F32, outputs };
                for bias in [false, true] {
                    // Rows of one element vanish in rounding errors that the deviation of 0 makes large.
                    let tolerance =
                        if shape[1] == 1 { Tolerance { relative: 0.0, absolute: 1.0 } } else { CLOSE };
                    agree_with(op.clone(), &inputs(shape, parameter, bias), outputs, tolerance);
                }
            }
            for outputs in [1, 2] {
                let op = RMSNormalization { axis, epsilon: 1e-6, stash: DType::F32, outputs };
                agree_with(op, &inputs(shape, parameter, false), outputs, CLOSE);
            }
        }
    }

    #[test]
    fn a_large_mean_does_not_drown_the_variance() {
        let data: Vec<f32> =
            random(&[4, 1000], 1).as_slice::<f32>().unwrap().iter().map(|x| x + 1000.0).collect();
        let op = LayerNormalization { axis: -1, epsilon: 1e-5, stash: DType::F32, outputs: 1 };
        let x = Tensor::from_vec([4, 1000], data).unwrap();
        let inputs = [Some((x, false)), Some((random(&[1000], 2), false))];
        agree_with(op, &inputs, 1, Tolerance { relative: 1e-4, absolute: 1e-4 });
    }
}
