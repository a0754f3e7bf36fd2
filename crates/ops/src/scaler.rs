//! `ai.onnx.ml.Scaler` (<https://onnx.ai/onnx/operators/onnx_aionnxml_Scaler.html>), one version only.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::digest::Table;
use crate::{OpEntry, features};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::ml("Scaler", 1, Scaler::parse)];

/// `(x - offset) * scale`. Input: `[.., F]` of float32, float64, int64 or int32; output: float32 of the same shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    /// One for each feature, or one for all; if empty, 0.
    pub offset: Table<f32>,
    /// One for each feature, or one for all; if empty, 1.
    pub scale: Table<f32>,
}

impl Scaler {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let offset = def.floats("offset")?.unwrap_or_default().into();
        Ok(Arc::new(Scaler { offset, scale: def.floats("scale")?.unwrap_or_default().into() }))
    }

    fn check(&self, features: Option<usize>) -> Result<(), OpError> {
        for (name, table) in [("offset", &self.offset), ("scale", &self.scale)] {
            if let Some(features) = features
                && table.len() > 1
                && table.len() != features
            {
                return Err(OpError::attribute(
                    name,
                    format!("one float or {features}, as features"),
                    table.len(),
                ));
            }
        }
        Ok(())
    }
}

fn at(table: &[f32], feature: usize, default: f64) -> f64 {
    let place = if table.len() == 1 { 0 } else { feature };
    table.get(place).map_or(default, |&value| f64::from(value))
}

impl Operator for Scaler {
    fn key(&self) -> OpKey {
        OpKey::ml("Scaler")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        features::check_type(inputs, 0)?;
        let shape = inputs.shape(0)?;
        self.check(shape.dims().and_then(|dims| dims.last()).and_then(|dim| dim.known()))?;
        Ok(vec![Fact::tensor(DType::F32, shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let features = x.shape().last().copied().unwrap_or(1);
        self.check(Some(features))?;
        let mut y = zeroed::<f32>(x.len())?;
        for (place, (y, x)) in y.iter_mut().zip(x.to_f64()?).enumerate() {
            let feature = place % features;
            *y = ((x - at(&self.offset, feature, 0.0)) * at(&self.scale, feature, 1.0)) as f32;
        }
        Ok(vec![Tensor::from_vec(x.shape().clone(), y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        2 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};

    fn scaler(offset: &[f32], scale: &[f32]) -> Scaler {
        Scaler { offset: offset.to_vec().into(), scale: scale.to_vec().into() }
    }

    #[test]
    fn features_are_shifted_and_scaled() {
        let x = || Tensor::from_vec([2, 2], vec![1i64, 2, 3, 4]).unwrap();
        let y = run(&scaler(&[1.0, 0.0], &[2.0, 0.5]), &[x()]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [0.0, 1.0, 4.0, 2.0]);
        let y = run(&scaler(&[1.0], &[]), &[x()]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0]);
        assert!(try_run(&scaler(&[0.0; 3], &[1.0; 3]), &[Some(x())]).is_err());
        assert!(run(&scaler(&[], &[2.0]), &[Tensor::zeros(DType::F32, [3, 0]).unwrap()])[0].is_empty());
    }
}
