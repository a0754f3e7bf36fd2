//! `ai.onnx.ml.Imputer` (<https://onnx.ai/onnx/operators/onnx_aionnxml_Imputer.html>), one version only.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::{OpEntry, features};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::ml("Imputer", 1, Imputer::parse)];

/// Replaces one value, mostly NaN, by others. Input and output: `[.., F]` of float32, float64, int64 or int32.
#[derive(Debug, Clone, PartialEq)]
pub enum Imputer {
    /// For floats.
    Float {
        /// What is replaced; NaN stands for every NaN.
        replaced: f32,
        /// By what: one for each feature, or the first for all.
        imputed: Vec<f32>,
    },
    /// For integers.
    Int {
        /// What is replaced.
        replaced: i64,
        /// By what: one for each feature, or the first for all.
        imputed: Vec<i64>,
    },
}

impl Imputer {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let floats = def.floats("imputed_value_floats")?.unwrap_or_default();
        let ints = def.ints("imputed_value_int64s")?.unwrap_or_default();
        let replaced = (def.float_or("replaced_value_float", 0.0)?, def.int_or("replaced_value_int64", 0)?);
        match (floats.is_empty(), ints.is_empty()) {
            (false, true) => Ok(Arc::new(Imputer::Float { replaced: replaced.0, imputed: floats })),
            (true, false) => Ok(Arc::new(Imputer::Int { replaced: replaced.1, imputed: ints })),
            (none, _) => {
                let got = if none { "neither" } else { "both" };
                Err(OpError::attribute("imputed_value_floats", "either this or `imputed_value_int64s`", got))
            }
        }
    }
}

/// `values`, with others where `is_replaced`.
fn imputed<T: Copy>(
    mut values: Vec<T>,
    features: usize,
    imputed: &[T],
    is_replaced: impl Fn(T) -> bool,
) -> Vec<T> {
    for (place, value) in values.iter_mut().enumerate() {
        if is_replaced(*value) {
            *value = imputed[if imputed.len() == features { place % features } else { 0 }];
        }
    }
    values
}

impl Operator for Imputer {
    fn key(&self) -> OpKey {
        OpKey::ml("Imputer")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        features::check_type(inputs, 0)?;
        let dtype = inputs.dtype(0)?;
        match self {
            Imputer::Float { .. } if !dtype.is_float() => {
                Err(OpError::dtype(0, "a float, as the imputed values", dtype))
            }
            Imputer::Int { .. } if dtype.is_float() => {
                Err(OpError::dtype(0, "an integer, as the imputed values", dtype))
            }
            _ => Ok(vec![inputs.like(0)?]),
        }
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let features = x.shape().last().copied().unwrap_or(1);
        let shape = x.shape().clone();
        Ok(vec![
            match self {
                Imputer::Float { replaced, imputed: by } => {
                    let replaced = f64::from(*replaced);
                    let by: Vec<f64> = by.iter().map(|&by| f64::from(by)).collect();
                    let hit = |value: f64| value == replaced || (value.is_nan() && replaced.is_nan());
                    Tensor::from_f64(x.dtype(), shape, &imputed(x.to_f64()?, features, &by, hit))?
                }
                Imputer::Int { replaced, imputed: by } => {
                    let values = imputed(x.to_i64()?, features, by, |value| value == *replaced);
                    Tensor::from_i64(x.dtype(), shape, &values)?
                }
            }
            .into(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    #[test]
    fn values_are_replaced_by_feature_or_by_the_first() {
        let op = Imputer::Float { replaced: 2.0, imputed: vec![8.0, 9.0] };
        let x = Tensor::from_vec([2, 2], vec![1f32, 2.0, 2.0, f32::NAN]).unwrap();
        let y = run(&op, &[x]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap()[..3], [1.0, 9.0, 8.0]);
        assert!(y.as_slice::<f32>().unwrap()[3].is_nan());
        let y = run(&op, &[Tensor::vector(vec![2f64, 3.0, 2.0])]).remove(0);
        assert_eq!(y, Tensor::vector(vec![8f64, 3.0, 8.0]));
        let ints = Imputer::Int { replaced: -1, imputed: vec![7] };
        assert_eq!(run(&ints, &[Tensor::vector(vec![-1i32, 5])])[0], Tensor::vector(vec![7i32, 5]));
        assert!(try_run(&ints, &[Some(Tensor::vector(vec![1f32]))]).is_err());
        assert_eq!(run(&ints, &[Tensor::scalar(-1i64)])[0], Tensor::scalar(7i64));
    }

    #[test]
    fn nan_is_found() {
        let op = Imputer::Float { replaced: f32::NAN, imputed: vec![0.5] };
        assert_eq!(run(&op, &[Tensor::vector(vec![f32::NAN, 1.0])])[0], Tensor::vector(vec![0.5f32, 1.0]));
    }
}
