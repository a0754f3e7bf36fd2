//! `LRN`, local response normalisation (<https://onnx.ai/onnx/operators/onnx__LRN.html>), the same in all opsets.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::same_float_types;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("LRN", 1, LRN::parse)];

/// `x / (bias + alpha / size * sum of squares)^beta`, the sum over `size` neighbouring channels. Input and output:
/// `[N, C, D1, ...]`, floats of 16 bits or more.
#[derive(Debug, Clone, PartialEq)]
pub struct LRN {
    /// Factor of the mean of squares.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// What is added to the mean of squares.
    pub bias: f32,
    /// Number of channels of a sum; of an even number one more lies after the channel than before it.
    pub size: usize,
}

impl LRN {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let size = def.int("size")?;
        let expected = || {
            let got = size.map_or("nothing".to_owned(), |size| size.to_string());
            OpError::attribute("size", "1 or more", got)
        };
        Ok(Arc::new(LRN {
            alpha: def.float_or("alpha", 1e-4)?,
            beta: def.float_or("beta", 0.75)?,
            bias: def.float_or("bias", 1.0)?,
            size: size
                .and_then(|size| usize::try_from(size).ok())
                .filter(|&size| size > 0)
                .ok_or_else(expected)?,
        }))
    }

    /// The channels whose squares are summed for `channel` of `channels`.
    pub fn neighbours(&self, channel: usize, channels: usize) -> std::ops::Range<usize> {
        let before = (self.size - 1) / 2;
        channel.saturating_sub(before)..channel.saturating_add(self.size - before).min(channels)
    }
}

impl Operator for LRN {
    fn key(&self) -> OpKey {
        OpKey::onnx("LRN")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        same_float_types(inputs, 1)?;
        let x = inputs.shape(0)?;
        if x.rank().is_some_and(|rank| rank < 2) {
            return Err(OpError::shape(0, "[N, C, D1, ...]", x));
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (_, channels, plane) = x.shape().split_at_axis(1);
        let mut y = x.to_f64()?;
        let mut squares = zeroed::<f64>(if x.is_empty() { 0 } else { channels * plane })?;
        for image in y.chunks_exact_mut(squares.len().max(1)) {
            squares.iter_mut().zip(&*image).for_each(|(square, x)| *square = x * x);
            for (i, y) in image.iter_mut().enumerate() {
                let (channel, place) = (i / plane, i % plane);
                let sum: f64 = self.neighbours(channel, channels).map(|c| squares[c * plane + place]).sum();
                let mean = f64::from(self.alpha) / self.size as f64 * sum;
                *y /= (f64::from(self.bias) + mean).powf(f64::from(self.beta));
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Square, sum over the neighbours, power, division.
        let elements =
            outputs.first().and_then(Fact::concrete_shape).map_or(0, |shape| shape.elements() as u64);
        elements.saturating_mul((self.size as u64).saturating_add(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};
    use inferrum_graph::Attr;

    #[test]
    fn an_even_size_reaches_further_ahead() {
        let attrs = |size: i64| {
            [
                ("size", Attr::Int(size)),
                ("alpha", Attr::Float(size as f32)),
                ("beta", Attr::Float(1.0)),
                ("bias", Attr::Float(0.0)),
            ]
        };
        let x = Tensor::from_vec([1, 3, 1], vec![1f32, 2., 3.]).unwrap();
        let y = |size: i64| run(&*parse_at(13, "LRN", &attrs(size)), std::slice::from_ref(&x)).remove(0);
        assert_eq!(y(1).as_slice::<f32>().unwrap(), [1., 0.5, 1. / 3.]);
        assert_eq!(y(2).as_slice::<f32>().unwrap(), [0.2, 2. / 13., 1. / 3.]);
        assert_eq!(y(3).as_slice::<f32>().unwrap(), [0.2, 2. / 14., 3. / 13.]);
    }
}
