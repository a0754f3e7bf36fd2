//! `BatchNormalization` of f32 with constant parameters, outside of training.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::batch_norm::BatchNormalization;
use inferrum_tensor::{DType, Shape};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::moments::{shift_scale, shift_scale_columns};
use crate::simd::{Isa, Kernel, Simd};

/// `(x - mean) * factor + bias` by channel.
struct Channels {
    mean: Vec<f32>,
    factor: Vec<f32>,
    bias: Vec<f32>,
    plane: usize,
    isa: Isa,
}

pub(crate) fn lower(op: &BatchNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    match shape.dims() {
        [_, channels, plane @ ..] => build(op, *channels, Shape::from(plane).elements(), lowering),
        _ => Err(Decline("no channels".into())),
    }
}

/// As [`lower`], of channels-last images.
pub(crate) fn lower_last(op: &BatchNormalization, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let channels = lowering.shape(0)?.last().copied();
    build(op, channels.ok_or_else(|| Decline("no channels".into()))?, 1, lowering)
}

fn build(
    op: &BatchNormalization,
    channels: usize,
    plane: usize,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    if op.training.is_some() || !op.spatial {
        return Err(Decline("training, or parameters for each element".into()));
    }
    let parameter = |index: usize| {
        let constant =
            lowering.constant(index).ok_or_else(|| Decline(format!("input {index} is not constant")))?;
        constant.to_f64().map_err(|error| Decline(error.to_string()))
    };
    let (scale, bias, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let factor = scale
        .iter()
        .zip(&variance)
        .map(|(scale, variance)| (scale / (variance + f64::from(op.epsilon)).sqrt()) as f32);
    let kernel = Channels {
        factor: factor.collect(),
        mean: mean.iter().map(|&x| x as f32).collect(),
        bias: bias.iter().map(|&x| x as f32).collect(),
        plane,
        isa: lowering.isa,
    };
    if [&kernel.factor, &kernel.mean, &kernel.bias].iter().any(|values| values.len() != channels) {
        return Err(Decline("not a parameter for each channel".into()));
    }
    Ok(Lowered::new("batch norm", kernel).in_place(&[0]).packed(&[1, 2, 3, 4]))
}

impl NodeKernel for Channels {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.optional::<f32>(0)?;
        let y: &mut [f32] = io.output(0)?;
        if x.is_some_and(|x| x.len() != y.len()) {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        if y.is_empty() {
            return Ok(());
        }
        // Without planes a row is all channels.
        let row = if self.plane == 1 { self.mean.len() } else { self.plane };
        let rows = ((1 << 14) / row).max(1);
        io.threads.par_chunks_mut(y, rows * row, |index, y| {
            let x = x.map(|x| &x[index * rows * row..][..y.len()]);
            self.isa.dispatch(Chunk { of: self, x, y, row, first: index * rows });
        });
        Ok(())
    }
}

/// Some rows, of which the first is row `first`.
struct Chunk<'a> {
    of: &'a Channels,
    x: Option<&'a [f32]>,
    y: &'a mut [f32],
    row: usize,
    first: usize,
}

impl Kernel for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Chunk { of, x, y, row, first } = self;
        for (i, y) in y.chunks_exact_mut(row).enumerate() {
            let x = x.map(|x| &x[i * row..(i + 1) * row]);
            if of.plane == 1 {
                shift_scale_columns(s, x, y, &of.mean, &of.factor, &of.bias);
            } else {
                let channel = (first + i) % of.mean.len();
                shift_scale(s, x, y, of.mean[channel], of.factor[channel], of.bias[channel]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};
    use inferrum_tensor::Tensor;

    #[test]
    fn planes_of_every_size() {
        for shape in [&[2, 5, 7, 9][..], &[1, 17, 130, 131], &[3, 33], &[2, 3, 1, 1], &[2, 4, 5], &[0, 3, 2]]
        {
            let positive: Vec<f32> = (0..shape[1]).map(|i| 0.1 + i as f32).collect();
            let constant = |seed| Some((random(&[shape[1]], seed), true));
            let inputs = [
                Some((random(shape, 1), false)),
                constant(2),
                constant(3),
                constant(4),
                Some((Tensor::vector(positive), true)),
            ];
            let op = BatchNormalization { epsilon: 1e-5, momentum: 0.9, spatial: true, training: None };
            agree_with(op, &inputs, 1, Tolerance { relative: 2e-6, absolute: 2e-6 });
        }
    }
}
