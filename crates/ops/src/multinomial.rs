//! `Multinomial` (<https://onnx.ai/onnx/operators/onnx__Multinomial.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::mersenne_twister::MersenneTwister;
use crate::random::dtype_attribute;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Multinomial", 1, Multinomial::parse)];

/// Classes drawn at random. Input: `[batch, classes]`, the logarithms of probabilities up to a constant, floats; output:
/// `[batch, samples]`, indices of classes. With a seed every run gives the same ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multinomial {
    /// How many are drawn for each row.
    pub samples: usize,
    /// The output's type: int32 or int64.
    pub dtype: DType,
    /// The seed; without one every run is another.
    pub seed: Option<f32>,
}

impl Multinomial {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let samples = def.int_or("sample_size", 1)?;
        let samples =
            usize::try_from(samples).map_err(|_| OpError::attribute("sample_size", "0 or more", samples))?;
        let dtype = dtype_attribute(def)?.unwrap_or(DType::I32);
        if !matches!(dtype, DType::I32 | DType::I64) {
            return Err(OpError::attribute("dtype", "int32 or int64", dtype));
        }
        Ok(Arc::new(Multinomial { samples, dtype, seed: def.float("seed")? }))
    }
}

impl Operator for Multinomial {
    fn key(&self) -> OpKey {
        OpKey::onnx("Multinomial")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let input = inputs.tensor(0)?;
        FLOATS.check(0, input.dtype)?;
        if input.shape.rank().is_some_and(|rank| rank != 2) || input.shape.dim(1) == SymDim::Known(0) {
            return Err(OpError::shape(0, "[batch, classes] with a class", &input.shape));
        }
        Ok(vec![Fact::tensor(self.dtype, vec![input.shape.dim(0), SymDim::Known(self.samples)])])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let logits = inputs.tensor(0)?;
        let (batch, classes) = (logits.shape()[0], logits.shape()[1]);
        let mut weights = logits.to_f64()?;
        let mut random = MersenneTwister::seeded(self.seed);
        let mut drawn = zeroed::<i64>(batch.saturating_mul(self.samples))?;
        for row in 0..batch {
            let weights = &mut weights[row * classes..][..classes];
            let greatest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut total = 0.0;
            for weight in weights.iter_mut() {
                total += (*weight - greatest).exp();
                *weight = total;
            }
            for draw in &mut drawn[row * self.samples..][..self.samples] {
                let mark = random.uniform() * total;
                *draw = weights.iter().position(|&bound| mark < bound).unwrap_or(classes - 1) as i64;
            }
        }
        Ok(vec![Tensor::from_i64(self.dtype, [batch, self.samples], &drawn)?.into()])
    }

    fn is_pure(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn classes_come_as_often_as_they_are_probable() {
        let attrs = [("seed", Attr::Float(5.0)), ("sample_size", Attr::Int(10000)), ("dtype", Attr::Int(7))];
        let op = parse_at(7, "Multinomial", &attrs);
        let logits = vec![0.5f32.ln(), f32::NEG_INFINITY, 0.25f32.ln(), 0.25f32.ln(), 9.0, 0.0, -900.0, 9.0];
        let y = run(&*op, &[Tensor::from_vec([2, 4], logits).unwrap()]).remove(0);
        let y = y.as_slice::<i64>().unwrap();
        let share = |row: &[i64], class| row.iter().filter(|&&drawn| drawn == class).count() as f64 / 1e4;
        for (class, expected) in [(0, 0.5), (1, 0.0), (2, 0.25), (3, 0.25)] {
            assert!((share(&y[..10000], class) - expected).abs() < 0.02, "{class}");
        }
        assert!((share(&y[10000..], 3) - 0.5).abs() < 0.02 && share(&y[10000..], 2) == 0.0);
        assert!(!op.is_pure());
    }

    #[test]
    fn no_class_and_other_ranks_are_errors() {
        let op = parse_at(7, "Multinomial", &[]);
        for dims in [&[2, 0][..], &[3], &[1, 1, 1]] {
            assert!(try_run(&*op, &[Some(Tensor::zeros(DType::F32, dims).unwrap())]).is_err(), "{dims:?}");
        }
        let none = run(&*op, &[Tensor::zeros(DType::F32, [0, 3]).unwrap()]);
        assert_eq!((none[0].dtype(), none[0].shape().dims()), (DType::I32, &[0, 1][..]));
    }
}
