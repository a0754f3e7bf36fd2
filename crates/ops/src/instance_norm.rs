//! `InstanceNormalization` (<https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>), the same in all opsets.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::conv::{check_channels, same_float_types};
use crate::moments::Moments;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("InstanceNormalization", 3, InstanceNormalization::parse)];

/// `(x - mean) / sqrt(variance + epsilon) * scale + B`, with the moments of each channel of each instance. Inputs:
/// `[N, C, D1, ...]`, scale `[C]`, B `[C]`; output like the first. Floats of 16 bits or more, of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceNormalization {
    /// What is added to the variance.
    pub epsilon: f32,
}

impl InstanceNormalization {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset < 6 {
            def.ignore(&["consumed_inputs"]);
        }
        Ok(Arc::new(InstanceNormalization { epsilon: def.float_or("epsilon", 1e-5)? }))
    }
}

impl Operator for InstanceNormalization {
    fn key(&self) -> OpKey {
        OpKey::onnx("InstanceNormalization")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        same_float_types(inputs, 3)?;
        let x = inputs.shape(0)?;
        if x.rank().is_some_and(|rank| rank < 2) {
            return Err(OpError::shape(0, "[N, C, D1, ...]", x));
        }
        for index in [1, 2] {
            inputs.require(index)?;
            check_channels(inputs, index, &x.dim(1))?;
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (scale, bias) = (inputs.tensor(1)?.to_f64()?, inputs.tensor(2)?.to_f64()?);
        let mut y = x.to_f64()?;
        let plane: usize = x.shape()[2..].iter().fold(1, |p: usize, &n| p.saturating_mul(n));
        for (i, plane) in y.chunks_exact_mut(plane.max(1)).enumerate() {
            let channel = i % scale.len();
            let moments = Moments::of(plane);
            let factor = moments.inverse_deviation(self.epsilon) * scale[channel];
            plane.iter_mut().for_each(|y| *y = (*y - moments.mean) * factor + bias[channel]);
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Mean, distances, squares, their mean; then a multiply-add.
        outputs.first().map_or(0, |y| 6 * y.element_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn each_channel_of_each_instance_has_its_own_moments() {
        let op = parse_at(6, "InstanceNormalization", &[("epsilon", Attr::Float(0.0))]);
        let x = Tensor::from_vec([2, 2, 2], vec![1f32, 3., 10., 30., 5., 5.5, 0., -8.]).unwrap();
        let inputs = [x.clone(), Tensor::vector(vec![1f32, 2.]), Tensor::vector(vec![0f32, 100.])];
        let y = run(&*op, &inputs).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [-1., 1., 98., 102., -1., 1., 102., 98.]);
        let wrong = [Some(x), Some(Tensor::vector(vec![1f32])), Some(Tensor::vector(vec![1f32, 2.]))];
        assert!(try_run(&*op, &wrong).is_err());
    }
}
