//! `GroupNorm` and `SkipGroupNorm` of `com.microsoft`, which diffusion models are exported with
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipGroupNorm>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::check_channels;
use crate::moments::{Moments, moments_of_sets};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::microsoft("GroupNorm", 3, |def| SkipGroupNorm::parse(def, false)),
    OpEntry::microsoft("SkipGroupNorm", 5, |def| SkipGroupNorm::parse(def, true)),
];

const SKIP: usize = 3;
const BIAS: usize = 4;

/// Group normalisation of images, perhaps of a sum, perhaps with an activation.
///
/// Inputs: X `[N, H, W, C]` or `[N, C, H, W]`, gamma and beta `[C]` (of a float type of their own); with `skip` also what is
/// added to X, `[N, H, W, C]`, `[N, 1, 1, C]` or `[N, C]` (with channels first only like X), and a bias `[C]` (optional).
/// Outputs: like X; with `skip` the sum, if asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct SkipGroupNorm {
    /// Number of groups, a divisor of C.
    pub groups: usize,
    /// What is added to the variance.
    pub epsilon: f32,
    /// Whether the channels are the last axis.
    pub channels_last: bool,
    /// Whether `x sigmoid(x)` follows.
    pub silu: bool,
    /// Whether something is added first.
    pub skip: bool,
    /// How many outputs the node has.
    pub outputs: usize,
}

impl SkipGroupNorm {
    fn parse(def: &mut NodeDef, skip: bool) -> Result<Arc<dyn Operator>, OpError> {
        let given = def.int("groups")?;
        let groups = given.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0).ok_or_else(|| {
            OpError::attribute("groups", "1 or more", given.map_or("nothing".into(), |n| n.to_string()))
        })?;
        Ok(Arc::new(SkipGroupNorm {
            groups,
            epsilon: def.float_or("epsilon", 1e-5)?,
            channels_last: def.flag("channels_last", true)?,
            silu: def.flag("activation", false)?,
            skip,
            outputs: if skip { def.outputs.len().clamp(1, 2) } else { 1 },
        }))
    }

    /// The axis of the channels.
    pub fn channel_axis(&self) -> usize {
        if self.channels_last { 3 } else { 1 }
    }

    /// Whether `skip` can be added to X of shape `x`.
    fn fits(&self, x: &Shape, skip: &Shape) -> bool {
        let (batch, channels) = (x[0], x[3]);
        skip == x
            || self.channels_last
                && (skip.dims() == [batch, channels] || skip.dims() == [batch, 1, 1, channels])
    }

    /// X plus what is added to it.
    fn sum(&self, x: &Tensor, inputs: Inputs<'_>) -> Result<Vec<f64>, OpError> {
        let mut sum = x.to_f64()?;
        if !self.skip {
            return Ok(sum);
        }
        let (skip, shape) = (inputs.tensor(SKIP)?.to_f64()?, x.shape());
        let (image, channels) = (shape[1].saturating_mul(shape[2]).saturating_mul(shape[3]), shape[3]);
        let whole = skip.len() == sum.len();
        for (i, sum) in sum.iter_mut().enumerate() {
            *sum += skip[if whole { i } else { i / image * channels + i % channels }];
        }
        if let Some(bias) = inputs.optional(BIAS)? {
            let bias = bias.to_f64()?;
            let (_, channels, inner) = shape.split_at_axis(self.channel_axis());
            sum.iter_mut().enumerate().for_each(|(i, sum)| *sum += bias[i / inner % channels]);
        }
        Ok(sum)
    }
}

impl Operator for SkipGroupNorm {
    fn key(&self) -> OpKey {
        OpKey::microsoft(if self.skip { "SkipGroupNorm" } else { "GroupNorm" })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.tensor(0)?;
        FLOATS.check(0, x.dtype)?;
        for index in [1, 2] {
            FLOATS.check(index, inputs.dtype(index)?)?;
        }
        let channels = x.shape.dim(self.channel_axis());
        let divides = channels.known().is_none_or(|channels| channels.is_multiple_of(self.groups));
        if x.shape.merge(&ShapeFact::of_rank(4)).is_none() || !divides {
            let channels = format!("a multiple of {} groups", self.groups);
            let expected = if self.channels_last {
                format!("[N, H, W, {channels}]")
            } else {
                format!("[N, {channels}, H, W]")
            };
            return Err(OpError::shape(0, expected, &x.shape));
        }
        for index in [1, 2, BIAS] {
            if index != BIAS || self.skip {
                check_channels(inputs, index, &channels)?;
            }
        }
        if self.skip {
            let skip = inputs.tensor(SKIP)?;
            for index in [SKIP, BIAS] {
                if let Some(tensor) = inputs.optional(index)?
                    && tensor.dtype != x.dtype
                {
                    return Err(OpError::dtype(index, x.dtype.to_string(), tensor.dtype));
                }
            }
            if let (Some(x), Some(skip)) = (x.shape.concrete(), skip.shape.concrete())
                && !self.fits(&x, &skip)
            {
                return Err(OpError::shape(SKIP, format!("{x}, or its batch and channels"), skip));
            }
        }
        Ok(vec![inputs.like(0)?; self.outputs])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (gamma, beta) = (inputs.tensor(1)?.to_f64()?, inputs.tensor(2)?.to_f64()?);
        let sum = self.sum(x, inputs)?;
        let (_, channels, inner) = x.shape().split_at_axis(self.channel_axis());
        let image: usize = x.shape()[1..].iter().fold(1, |p: usize, &n| p.saturating_mul(n));
        let width = (channels / self.groups).max(1);
        let set = |i: usize| i / image * self.groups + i / inner % channels / width;
        let moments: Vec<Moments> = if sum.is_empty() {
            zeroed(0)?
        } else {
            moments_of_sets(&sum, x.shape()[0].saturating_mul(self.groups), (0..sum.len()).map(set))?
        };
        let mut y: Vec<f64> = zeroed(sum.len())?;
        for (i, (y, x)) in y.iter_mut().zip(&sum).enumerate() {
            let (moments, channel) = (moments[set(i)], i / inner % channels);
            *y =
                (x - moments.mean) * moments.inverse_deviation(self.epsilon) * gamma[channel] + beta[channel];
            if self.silu {
                *y /= 1.0 + (-*y).exp();
            }
        }
        let mut outputs = vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()];
        if self.outputs > 1 {
            outputs.push(Tensor::from_f64(x.dtype(), x.shape().clone(), &sum)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |y| 8 * y.element_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;

    fn op(op_type: &str, last: i64, activation: i64, outputs: usize) -> Arc<dyn Operator> {
        let attrs = [
            ("groups", Attr::Int(2)),
            ("channels_last", Attr::Int(last)),
            ("activation", Attr::Int(activation)),
            ("epsilon", Attr::Float(0.0)),
        ];
        parse_node("com.microsoft", 1, op_type, &attrs, outputs)
    }

    fn tensor(shape: &[usize], values: &[f32]) -> Option<Tensor> {
        Some(Tensor::from_vec(shape, values.to_vec()).unwrap())
    }

    #[test]
    fn both_layouts_agree() {
        let parameters = [tensor(&[2], &[1.0, 2.0]), tensor(&[2], &[0.0, 1.0])];
        let last =
            [tensor(&[1, 1, 2, 2], &[1.0, 10.0, 3.0, 30.0]), parameters[0].clone(), parameters[1].clone()];
        let first =
            [tensor(&[1, 2, 1, 2], &[1.0, 3.0, 10.0, 30.0]), parameters[0].clone(), parameters[1].clone()];
        let y = try_run(&*op("GroupNorm", 1, 0, 1), &last).unwrap()[0].to_f64().unwrap();
        assert_eq!(y, [-1.0, -1.0, 1.0, 3.0]);
        let y = try_run(&*op("GroupNorm", 0, 1, 1), &first).unwrap()[0].to_f64().unwrap();
        let silu = |x: f64| x / (1.0 + (-x).exp());
        assert!(y.iter().zip([-1.0, 1.0, -1.0, 3.0]).all(|(y, x)| (y - silu(x)).abs() < 1e-6));
    }

    #[test]
    fn sums_come_first_and_are_given() {
        let (x, ones) = (tensor(&[1, 1, 2, 2], &[1.0, 10.0, 3.0, 30.0]), tensor(&[2], &[1.0, 1.0]));
        let run = |skip: Option<Tensor>| {
            let bias = tensor(&[2], &[0.0, 5.0]);
            try_run(&*op("SkipGroupNorm", 1, 0, 2), &[x.clone(), ones.clone(), ones.clone(), skip, bias])
        };
        let outputs = run(tensor(&[1, 2], &[1.0, 2.0])).unwrap();
        assert_eq!(outputs[1].to_f64().unwrap(), [2.0, 17.0, 4.0, 37.0]);
        assert_eq!(outputs, run(tensor(&[1, 1, 1, 2], &[1.0, 2.0])).unwrap());
        assert_eq!(outputs, run(tensor(&[1, 1, 2, 2], &[1.0, 2.0, 1.0, 2.0])).unwrap());
        assert!(run(tensor(&[2, 1], &[1.0, 2.0])).is_err());
    }
}
