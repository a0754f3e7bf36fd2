//! `Bernoulli` (<https://onnx.ai/onnx/operators/onnx__Bernoulli.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value, collected};

use crate::OpEntry;
use crate::mersenne_twister::MersenneTwister;
use crate::random::dtype_attribute;
use crate::types::{FLOATS, NUMBERS_AND_TRUTH};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Bernoulli", 1, Bernoulli::parse)];

/// 1 with the probability that the element is, else 0. Input: any shape, floats from 0 to 1; output: the same shape. With a
/// seed every run gives the same numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bernoulli {
    /// The output's type; `None` where it is the input's.
    pub dtype: Option<DType>,
    /// The seed; without one every run is another.
    pub seed: Option<f32>,
}

impl Bernoulli {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let dtype = dtype_attribute(def)?;
        if let Some(dtype) = dtype.filter(|&dtype| !NUMBERS_AND_TRUTH.hold(dtype)) {
            return Err(OpError::attribute("dtype", NUMBERS_AND_TRUTH.name, dtype));
        }
        Ok(Arc::new(Bernoulli { dtype, seed: def.float("seed")? }))
    }
}

impl Operator for Bernoulli {
    fn key(&self) -> OpKey {
        OpKey::onnx("Bernoulli")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let input = inputs.tensor(0)?;
        FLOATS.check(0, input.dtype)?;
        Ok(vec![Fact::tensor(self.dtype.unwrap_or(input.dtype), input.shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let probabilities = inputs.tensor(0)?;
        let mut random = MersenneTwister::seeded(self.seed);
        let draws = probabilities.to_f64()?.into_iter().map(|p| i64::from(random.uniform() < p));
        let draws = collected(probabilities.len(), draws)?;
        let dtype = self.dtype.unwrap_or(probabilities.dtype());
        Ok(vec![Tensor::from_i64(dtype, probabilities.shape().clone(), &draws)?.into()])
    }

    fn is_pure(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};
    use inferrum_graph::Attr;

    #[test]
    fn certainties_hold_and_the_mean_is_the_probability() {
        let op = parse_at(15, "Bernoulli", &[("seed", Attr::Float(1.0)), ("dtype", Attr::Int(9))]);
        let y = run(&*op, &[Tensor::vector(vec![0f32, 1.0, 0.0, 1.0])]);
        assert_eq!(y[0].as_slice::<bool>().unwrap(), [false, true, false, true]);
        let op = parse_at(15, "Bernoulli", &[("seed", Attr::Float(1.0))]);
        let y = run(&*op, &[Tensor::vector(vec![0.25f64; 10000])]).remove(0);
        let mean = y.to_f64().unwrap().iter().sum::<f64>() / 1e4;
        assert!((mean - 0.25).abs() < 0.02, "{mean}");
        assert!(!op.is_pure() && y.dtype() == DType::F64);
    }
}
