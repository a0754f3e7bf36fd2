//! `Dropout` (<https://onnx.ai/onnx/operators/onnx__Dropout.html>).
//!
//! Before opset 12 there was no way to ask for training, so `ratio` and `is_test` have no effect; before opset 10 the
//! mask had the data's type.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value, collected};

use crate::OpEntry;
use crate::mersenne_twister::MersenneTwister;
use crate::types::{FLOATS_AND_FLOAT8, TRUTH};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Dropout", 3, Dropout::parse).before(&[(12, 1)])];

/// The data itself; in training, elements become 0 at random and the others grow in return. Inputs: data of any shape,
/// floats of 8 bits or more; ratio (scalar float, default 0.5) and whether to train (scalar bool, default false), both
/// optional. Outputs: as data; and, if asked for, a mask of what was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropout {
    /// The seed; without one every run is another.
    pub seed: Option<i64>,
    /// Whether input 2, which may ask for training, is given. Without it the operator is an identity.
    pub may_train: bool,
    /// Whether there is a second output.
    pub has_mask: bool,
    /// Whether the mask is of the data's type and not `bool`.
    pub mask_like_data: bool,
}

impl Dropout {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let old = def.opset < 12;
        if old {
            def.ignore(&["ratio", "is_test", "consumed_inputs"]);
        }
        Ok(Arc::new(Dropout {
            seed: if old { None } else { def.int("seed")? },
            may_train: !old && def.has_input(2),
            has_mask: def.outputs.len() > 1,
            mask_like_data: def.opset < 10,
        }))
    }

    /// For each element, whether it is kept; `None` where all are.
    fn kept(&self, inputs: Inputs<'_>, len: usize) -> Result<Option<(Vec<bool>, f64)>, OpError> {
        let trains = inputs.optional(2)?.map(Tensor::to_scalar::<bool>).transpose()?.unwrap_or(false);
        let ratio = inputs.optional(1)?.map(Tensor::to_f64).transpose()?;
        let ratio = ratio.and_then(|ratio| ratio.first().copied()).unwrap_or(0.5);
        if !trains || ratio == 0.0 {
            return Ok(None);
        }
        if !(0.0..1.0).contains(&ratio) {
            return Err(OpError::value(1, format!("the ratio must be from 0 up to but not 1, got {ratio}")));
        }
        // As NumPy's `RandomState`, which takes 32 bits.
        let mut random =
            self.seed.map_or_else(|| MersenneTwister::seeded(None), |seed| MersenneTwister::new(seed as u32));
        let kept = collected(len, std::iter::repeat_with(|| random.uniform() >= ratio).take(len))?;
        Ok(Some((kept, 1.0 / (1.0 - ratio))))
    }
}

impl Operator for Dropout {
    fn key(&self) -> OpKey {
        OpKey::onnx("Dropout")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        FLOATS_AND_FLOAT8.check(0, data.dtype)?;
        for (index, types) in [(1, FLOATS_AND_FLOAT8), (2, TRUTH)] {
            let Some(scalar) = inputs.optional(index)? else { continue };
            types.check(index, scalar.dtype)?;
            if scalar.shape.concrete().is_some_and(|shape| shape.elements() != 1) {
                return Err(OpError::shape(index, "scalar", &scalar.shape));
            }
        }
        let mut outputs = vec![inputs.like(0)?];
        if self.has_mask {
            let dtype = if self.mask_like_data { data.dtype } else { DType::Bool };
            outputs.push(Fact::tensor(dtype, data.shape.clone()));
        }
        Ok(outputs)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let kept = self.kept(inputs, data.len())?;
        let mut outputs = vec![match &kept {
            None => data.clone().into(),
            Some((kept, scale)) => {
                let scaled =
                    data.to_f64()?.into_iter().zip(kept).map(|(x, &kept)| if kept { x * scale } else { 0.0 });
                Tensor::from_f64(data.dtype(), data.shape().clone(), &scaled.collect::<Vec<_>>())?.into()
            }
        }];
        if self.has_mask {
            let dtype = if self.mask_like_data { data.dtype() } else { DType::Bool };
            let mask: Vec<i64> = match kept {
                None => vec![1; data.len()],
                Some((kept, _)) => kept.into_iter().map(i64::from).collect(),
            };
            outputs.push(Tensor::from_i64(dtype, data.shape().clone(), &mask)?.into());
        }
        Ok(outputs)
    }

    fn is_pure(&self) -> bool {
        !self.may_train || self.seed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use std::collections::BTreeMap;

    const TRAINING: Dropout =
        Dropout { seed: Some(0), may_train: true, has_mask: true, mask_like_data: false };

    fn trained(op: &Dropout, ratio: f32) -> Result<Vec<Tensor>, OpError> {
        let x = Tensor::vector(vec![1f32; 6]);
        try_run(op, &[Some(x), Some(Tensor::scalar(ratio)), Some(Tensor::scalar(true))])
    }

    #[test]
    fn without_training_data_passes() {
        let x = Tensor::vector(vec![1f32, -2.0]);
        let mut def = NodeDef::new("Dropout", 7, BTreeMap::from([("ratio".to_owned(), Attr::Float(0.75))]));
        def.outputs = vec![true, true];
        let op = crate::parse("", &mut def).unwrap().unwrap();
        def.finish().unwrap();
        let y = run(&*op, std::slice::from_ref(&x));
        assert_eq!(y, [x.clone(), Tensor::vector(vec![1f32; 2])]);
        assert!(op.is_pure());
        let y = try_run(&TRAINING, &[Some(x.clone()), None, Some(Tensor::scalar(false))]).unwrap();
        assert_eq!(y, [x, Tensor::vector(vec![true; 2])]);
        assert_eq!(trained(&TRAINING, 0.0).unwrap()[1], Tensor::vector(vec![true; 6]));
    }

    #[test]
    fn training_drops_as_numpy_does_for_a_seed() {
        // `numpy.random.RandomState(0).uniform(0, 1, 6) >= 0.6`.
        let y = trained(&TRAINING, 0.6).unwrap();
        let mask = [false, true, true, false, false, true];
        assert_eq!(y[1].as_slice::<bool>().unwrap(), mask);
        let scale = (1.0 / (1.0 - f64::from(0.6f32))) as f32;
        assert_eq!(y[0].as_slice::<f32>().unwrap(), mask.map(|kept| if kept { scale } else { 0.0 }));
    }

    #[test]
    fn a_ratio_of_one_or_more_is_an_error() {
        for ratio in [1.0, -0.1, f32::NAN] {
            assert!(matches!(trained(&TRAINING, ratio), Err(OpError::Value { index: 1, .. })), "{ratio}");
        }
    }

    #[test]
    fn only_training_without_a_seed_is_impure() {
        assert!(TRAINING.is_pure() && !Dropout { seed: None, ..TRAINING }.is_pure());
        assert!(!parse_at(13, "Dropout", &[]).is_pure());
    }
}
