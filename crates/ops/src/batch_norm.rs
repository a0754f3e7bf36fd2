//! `BatchNormalization` (<https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>).
//!
//! Before opset 14 whether a node trains followed from its outputs (and `is_test` before opset 7), and there were two
//! further outputs; before opset 9 `spatial` = 0 asked for statistics of each element of an image.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::moments::{Moments, float_type, moments_of_sets, sets};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("BatchNormalization", 5, BatchNormalization::parse)];

/// `(x - mean) / sqrt(variance + epsilon) * scale + B`, with parameters for each channel.
///
/// Inputs: X `[N, C, D1, ...]` (or `[N]`, one channel), and `[C]` each: scale, B, mean, variance. Output: like X. In
/// training the moments are those of X, and further outputs are the running mean and variance `[C]`. Floats of 16 bits
/// or more, perhaps of three types: X; scale and B; mean and variance.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormalization {
    /// What is added to the variance.
    pub epsilon: f32,
    /// In training, the share of the old in the new running moments.
    pub momentum: f32,
    /// Whether a channel's elements share their parameters; if not, these are `[C, D1, ...]`.
    pub spatial: bool,
    /// In training, the number of outputs.
    pub training: Option<usize>,
}

impl BatchNormalization {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let more_used = def.outputs.iter().skip(1).any(|&used| used);
        let training = if def.opset >= 14 {
            def.flag("training_mode", false)?
        } else {
            let is_test = def.opset < 7 && def.flag("is_test", false)?;
            more_used && !is_test
        };
        if def.opset >= 14 && more_used && !training {
            return Err(OpError::attribute("training_mode", "1 where there are several outputs", 0));
        }
        if def.opset < 6 {
            def.ignore(&["consumed_inputs"]);
        }
        let spatial = def.opset >= 9 || def.flag("spatial", true)?;
        let most = if def.opset >= 14 { 3 } else { 5 };
        let outputs = def.outputs.len().clamp(1, most);
        Ok(Arc::new(BatchNormalization {
            epsilon: def.float_or("epsilon", 1e-5)?,
            momentum: def.float_or("momentum", 0.9)?,
            spatial,
            training: training.then_some(outputs),
        }))
    }

    /// The shape of the parameters for X of shape `x`.
    fn parameters(&self, x: &ShapeFact) -> ShapeFact {
        match x.dims() {
            Some([_]) => ShapeFact::from([1]),
            Some([_, rest @ ..]) if !self.spatial => rest.iter().cloned().collect(),
            None if !self.spatial => ShapeFact::unknown(),
            _ => std::iter::once(x.dim(1)).collect(),
        }
    }
}

impl Operator for BatchNormalization {
    fn key(&self) -> OpKey {
        OpKey::onnx("BatchNormalization")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        (0..5).try_for_each(|index| float_type(inputs, index).map(drop))?;
        let x = inputs.shape(0)?;
        if x.rank() == Some(0) {
            return Err(OpError::shape(0, "[N, C, D1, ...]", x));
        }
        let mut parameters = self.parameters(x);
        for index in 1..5 {
            let shape = inputs.shape(index)?;
            let expected = || OpError::shape(index, parameters.to_string(), shape);
            parameters = parameters.merge(shape).ok_or_else(expected)?;
        }
        for (first, second) in [(1, 2), (3, 4)] {
            let dtype = inputs.dtype(first)?;
            if inputs.dtype(second)? != dtype {
                return Err(OpError::dtype(
                    second,
                    format!("{dtype}, like input {first}"),
                    inputs.dtype(second)?,
                ));
            }
        }
        let mut outputs = vec![inputs.like(0)?];
        let moments = Fact::tensor(inputs.dtype(3)?, parameters);
        outputs.extend((1..self.training.unwrap_or(1)).map(|_| moments.clone()));
        Ok(outputs)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let [scale, bias, mean, variance] =
            [1, 2, 3, 4].map(|i| inputs.tensor(i).and_then(|t| Ok(t.to_f64()?)));
        let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
        let mut y = x.to_f64()?;
        let single = x.shape().rank() == 1;
        let (count, of) = sets(x.shape(), |axis| !single && if self.spatial { axis == 1 } else { axis > 0 });
        let given = mean.iter().zip(&variance).map(|(&mean, &variance)| Moments { mean, variance });
        let moments: Vec<Moments> = match self.training {
            Some(_) => moments_of_sets(&y, count, of.clone())?,
            None => given.clone().collect(),
        };
        for (y, set) in y.iter_mut().zip(of) {
            let normalized = (*y - moments[set].mean) * moments[set].inverse_deviation(self.epsilon);
            *y = normalized * scale[set] + bias[set];
        }
        let mut outputs = vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()];
        let momentum = f64::from(self.momentum);
        let running = |old: f64, new: f64| old * momentum + new * (1.0 - momentum);
        let pairs = || given.clone().zip(&moments);
        let further: [Vec<f64>; 4] = [
            pairs().map(|(old, new)| running(old.mean, new.mean)).collect(),
            pairs().map(|(old, new)| running(old.variance, new.variance)).collect(),
            moments.iter().map(|moments| moments.mean).collect(),
            moments.iter().map(|moments| moments.variance).collect(),
        ];
        let like = inputs.tensor(3)?;
        for values in further.iter().take(self.training.unwrap_or(1) - 1) {
            outputs.push(Tensor::from_f64(like.dtype(), like.shape().clone(), values)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // One multiply-add for each element, once the parameters are folded.
        outputs.first().map_or(0, |y| 2 * y.element_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_node, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::DType;

    fn inputs() -> Vec<Tensor> {
        let vector = |values: [f32; 2]| Tensor::vector(values.to_vec());
        vec![
            Tensor::from_vec([2, 2, 1], vec![1f32, 2., 3., 4.]).unwrap(),
            vector([2., 1.]),
            vector([0., 10.]),
            vector([1., 0.]),
            vector([4., 1.]),
        ]
    }

    #[test]
    fn inference_uses_the_given_moments() {
        let op = parse_at(15, "BatchNormalization", &[("epsilon", Attr::Float(0.0))]);
        assert_eq!(run(&*op, &inputs())[0].as_slice::<f32>().unwrap(), [0., 12., 2., 14.]);
        let op =
            parse_at(6, "BatchNormalization", &[("epsilon", Attr::Float(0.0)), ("is_test", Attr::Int(1))]);
        assert_eq!(run(&*op, &inputs())[0].as_slice::<f32>().unwrap(), [0., 12., 2., 14.]);
    }

    #[test]
    fn training_gives_running_moments() {
        let attrs =
            [("training_mode", Attr::Int(1)), ("epsilon", Attr::Float(0.0)), ("momentum", Attr::Float(0.5))];
        let y = run(&*parse_node("", 15, "BatchNormalization", &attrs, 3), &inputs());
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [-2., 9., 2., 11.]);
        assert_eq!(y[1].as_slice::<f32>().unwrap(), [1.5, 1.5]);
        assert_eq!(y[2].as_slice::<f32>().unwrap(), [2.5, 1.0]);
        let y = run(&*parse_node("", 9, "BatchNormalization", &attrs[1..], 5), &inputs());
        assert_eq!(y[3].as_slice::<f32>().unwrap(), [2., 3.]);
        assert_eq!(y[4].as_slice::<f32>().unwrap(), [1., 1.]);
    }

    #[test]
    fn not_spatial_parameters_are_for_each_element() {
        let op =
            parse_at(8, "BatchNormalization", &[("spatial", Attr::Int(0)), ("epsilon", Attr::Float(0.0))]);
        let of_elements = |values: [f32; 2]| Tensor::from_vec([1, 2], values.to_vec()).unwrap();
        let x = Tensor::from_vec([2, 1, 2], vec![1f32, 2., 3., 4.]).unwrap();
        let [scale, bias] = [[2., 1.], [0., 10.]].map(of_elements);
        let y = run(&*op, &[x, scale, bias, of_elements([1., 0.]), of_elements([4., 1.])]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [0., 12., 2., 14.]);
    }

    #[test]
    fn one_axis_is_one_channel_and_types_may_differ() {
        let op = parse_at(15, "BatchNormalization", &[]);
        let one = |dtype: DType, value: f64| Tensor::from_f64(dtype, [1], &[value]).unwrap();
        let x = Tensor::from_f64(DType::F16, [3], &[1., 2., 3.]).unwrap();
        let (f16, f32) = (DType::F16, DType::F32);
        let y = run(&*op, &[x, one(f16, 1.), one(f16, 0.), one(f32, 2.), one(f32, 1.)]);
        assert_eq!(y[0].to_f64().unwrap(), [-1., 0., 1.]);
        let mut wrong: Vec<Option<Tensor>> = inputs().into_iter().map(Some).collect();
        wrong[2] = Some(Tensor::vector(vec![0f32; 3]));
        assert!(try_run(&*op, &wrong).is_err());
    }
}
