//! `ai.onnx.ml.Binarizer` (<https://onnx.ai/onnx/operators/onnx_aionnxml_Binarizer.html>), one version only.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Real, Tensor, Value, dispatch, zeroed};

use crate::{OpEntry, features};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::ml("Binarizer", 1, Binarizer::parse)];

/// 1 where an element is above a threshold, otherwise 0. Input and output: any shape; float32, float64, int64, int32.
#[derive(Debug, Clone, PartialEq)]
pub struct Binarizer {
    /// The threshold.
    pub threshold: f32,
}

impl Binarizer {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Binarizer { threshold: def.float_or("threshold", 0.0)? }))
    }
}

impl Operator for Binarizer {
    fn key(&self) -> OpKey {
        OpKey::ml("Binarizer")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        features::check_type(inputs, 0)?;
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let threshold = f64::from(self.threshold);
        dispatch!(real, x.dtype(), T => {
            let mut y = zeroed::<T>(x.len())?;
            for (y, &x) in y.iter_mut().zip(x.as_slice::<T>()?) {
                *y = <T as Real>::from_f64(if Real::to_f64(x) > threshold { 1.0 } else { 0.0 });
            }
            Ok(vec![Tensor::from_vec(x.shape().clone(), y)?.into()])
        }, else Err(OpError::dtype(0, "a number", x.dtype())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    #[test]
    fn only_what_is_above_is_one() {
        let op = Binarizer { threshold: 1.0 };
        assert_eq!(
            run(&op, &[Tensor::vector(vec![1f32, 1.5, -2.0, f32::NAN])])[0],
            Tensor::vector(vec![0f32, 1.0, 0.0, 0.0])
        );
        assert_eq!(run(&op, &[Tensor::vector(vec![2i64, i64::MIN])])[0], Tensor::vector(vec![1i64, 0]));
        assert!(try_run(&op, &[Some(Tensor::vector(vec![true]))]).is_err());
    }
}
