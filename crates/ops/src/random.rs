//! `RandomNormal`, `RandomUniform`, `RandomNormalLike`, `RandomUniformLike`
//! (<https://onnx.ai/onnx/operators/onnx__RandomNormal.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value, collected};

use crate::OpEntry;
use crate::mersenne_twister::MersenneTwister;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("RandomNormal", 0, |def| Random::parse(def, Distribution::parse_normal, false)),
    OpEntry::onnx("RandomNormalLike", 1, |def| Random::parse(def, Distribution::parse_normal, true)),
    OpEntry::onnx("RandomUniform", 0, |def| Random::parse(def, Distribution::parse_uniform, false)),
    OpEntry::onnx("RandomUniformLike", 1, |def| Random::parse(def, Distribution::parse_uniform, true)),
];

/// Independent random numbers. Input: none, or a tensor of the output's shape whose elements do not matter; output: floats
/// of 16 bits or more. With a seed every run gives the same numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Random {
    /// How the numbers are distributed.
    pub distribution: Distribution,
    /// The output's shape; `None` where it is the input's.
    pub shape: Option<Shape>,
    /// The output's type; `None` where it is the input's.
    pub dtype: Option<DType>,
    /// The seed; without one every run is another.
    pub seed: Option<f32>,
}

/// How random numbers are distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// By the normal law.
    Normal {
        /// The mean.
        mean: f32,
        /// The standard deviation.
        scale: f32,
    },
    /// Evenly.
    Uniform {
        /// The least.
        low: f32,
        /// The bound above, which is not reached.
        high: f32,
    },
}

impl Distribution {
    fn parse_normal(def: &mut NodeDef) -> Result<Distribution, OpError> {
        Ok(Distribution::Normal { mean: def.float_or("mean", 0.0)?, scale: def.float_or("scale", 1.0)? })
    }

    fn parse_uniform(def: &mut NodeDef) -> Result<Distribution, OpError> {
        Ok(Distribution::Uniform { low: def.float_or("low", 0.0)?, high: def.float_or("high", 1.0)? })
    }

    fn sample(self, random: &mut MersenneTwister) -> f64 {
        match self {
            Distribution::Normal { mean, scale } => f64::from(mean) + f64::from(scale) * random.normal(),
            Distribution::Uniform { low, high } => {
                f64::from(low) + (f64::from(high) - f64::from(low)) * random.uniform()
            }
        }
    }
}

/// The output type that attribute `dtype` names, if it does.
pub(crate) fn dtype_attribute(def: &mut NodeDef) -> Result<Option<DType>, OpError> {
    let Some(code) = def.int("dtype")? else { return Ok(None) };
    let dtype = i32::try_from(code).ok().and_then(DType::from_onnx_code);
    dtype.map(Some).ok_or_else(|| OpError::attribute("dtype", "a TensorProto.DataType", code))
}

impl Random {
    fn parse(
        def: &mut NodeDef,
        distribution: fn(&mut NodeDef) -> Result<Distribution, OpError>,
        like: bool,
    ) -> Result<Arc<dyn Operator>, OpError> {
        let mut dtype = dtype_attribute(def)?;
        let mut shape = None;
        if !like {
            dtype = dtype.or(Some(DType::F32));
            let extents = def
                .ints("shape")?
                .ok_or_else(|| OpError::attribute("shape", "the output's extents", "nothing"))?;
            let unfit = |extent: &i64| OpError::attribute("shape", "extents of 0 or more", extent);
            let extents = extents.iter().map(|extent| usize::try_from(*extent).map_err(|_| unfit(extent)));
            shape = Some(extents.collect::<Result<Shape, _>>()?);
        }
        if let Some(dtype) = dtype.filter(|&dtype| !FLOATS.hold(dtype)) {
            return Err(OpError::attribute("dtype", FLOATS.name, dtype));
        }
        Ok(Arc::new(Random { distribution: distribution(def)?, shape, dtype, seed: def.float("seed")? }))
    }
}

impl Operator for Random {
    fn key(&self) -> OpKey {
        OpKey::onnx(match (self.distribution, &self.shape) {
            (Distribution::Normal { .. }, Some(_)) => "RandomNormal",
            (Distribution::Normal { .. }, None) => "RandomNormalLike",
            (Distribution::Uniform { .. }, Some(_)) => "RandomUniform",
            (Distribution::Uniform { .. }, None) => "RandomUniformLike",
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = match self.dtype {
            Some(dtype) => dtype,
            None => inputs.dtype(0)?,
        };
        FLOATS.check(0, dtype)?;
        Ok(vec![match &self.shape {
            Some(shape) => Fact::tensor(dtype, shape),
            None => Fact::tensor(dtype, inputs.shape(0)?.clone()),
        }])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let shape = match &self.shape {
            Some(shape) => shape,
            None => inputs.tensor(0)?.shape(),
        };
        let dtype = match self.dtype {
            Some(dtype) => dtype,
            None => inputs.tensor(0)?.dtype(),
        };
        let mut random = MersenneTwister::seeded(self.seed);
        let numbers = std::iter::repeat_with(|| self.distribution.sample(&mut random)).take(shape.elements());
        let numbers = collected(shape.elements(), numbers)?;
        Ok(vec![Tensor::from_f64(dtype, shape.clone(), &numbers)?.into()])
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

    fn attrs(shape: &[i64]) -> [(&'static str, Attr); 2] {
        [("shape", Attr::Ints(shape.to_vec())), ("seed", Attr::Float(0.0))]
    }

    #[test]
    fn seeds_give_numpy_s_numbers() {
        let y = run(&*parse_at(22, "RandomUniform", &attrs(&[3])), &[]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [0.5488135, 0.71518934, 0.60276335]);
        let y = run(&*parse_at(22, "RandomNormal", &attrs(&[1, 2])), &[]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [1.7640524, 0.4001572]);
    }

    #[test]
    fn moments_are_those_of_the_law() {
        let moments = |op_type: &str, attrs: &[(&str, Attr)]| {
            let like = Tensor::zeros(DType::F64, [100, 100]).unwrap();
            let x = run(&*parse_at(22, op_type, attrs), &[like]).remove(0).to_f64().unwrap();
            let mean = x.iter().sum::<f64>() / 1e4;
            (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4)
        };
        let seed = ("seed", Attr::Float(3.0));
        let (mean, variance) = moments(
            "RandomNormalLike",
            &[("mean", Attr::Float(5.0)), ("scale", Attr::Float(2.0)), seed.clone()],
        );
        assert!((mean - 5.0).abs() < 0.1 && (variance - 4.0).abs() < 0.2, "{mean} {variance}");
        let (mean, variance) =
            moments("RandomUniformLike", &[("low", Attr::Float(-1.0)), ("high", Attr::Float(3.0)), seed]);
        assert!((mean - 1.0).abs() < 0.1 && (variance - 4.0 / 3.0).abs() < 0.1, "{mean} {variance}");
    }

    #[test]
    fn types_come_from_the_attribute_or_the_input() {
        let op = parse_at(22, "RandomUniformLike", &[("dtype", Attr::Int(10))]);
        let y = run(&*op, &[Tensor::zeros(DType::I32, [2, 0]).unwrap()]);
        assert_eq!((y[0].dtype(), y[0].shape().dims()), (DType::F16, &[2, 0][..]));
        let without = parse_at(22, "RandomUniformLike", &[]);
        assert!(!without.is_pure() && try_run(&*without, &[Some(Tensor::scalar(1i32))]).is_err());
    }

    #[test]
    fn impossible_attributes_are_errors() {
        let parsed = |attrs: &[(&str, Attr)]| {
            let attrs = attrs.iter().map(|(name, attr)| (name.to_string(), attr.clone())).collect();
            crate::parse("", &mut NodeDef::new("RandomNormal", 22, attrs)).unwrap()
        };
        assert!(parsed(&[]).is_err());
        assert!(parsed(&[("shape", Attr::Ints(vec![-1]))]).is_err());
        assert!(parsed(&[("shape", Attr::Ints(vec![1])), ("dtype", Attr::Int(7))]).is_err());
        let endless = parsed(&attrs(&[i64::MAX, i64::MAX])).unwrap();
        assert!(matches!(try_run(&*endless, &[]), Err(OpError::Tensor(_))));
    }
}
