//! `SkipLayerNormalization` and `SkipSimplifiedLayerNormalization` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::conv::{check_channels, same_float_types};
use crate::layer_norm::inverse_rms;
use crate::moments::Moments;
use crate::{Broadcast, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::microsoft("SkipLayerNormalization", 5, |def| SkipLayerNormalization::parse(def, false)),
    OpEntry::microsoft("SkipSimplifiedLayerNormalization", 4, |def| SkipLayerNormalization::parse(def, true)),
];

/// Layer normalisation of a sum over the last axis.
///
/// Inputs: `[..., H]`, what is added to it and broadcasts to it, gamma `[H]`; then, unless `simplified`, optionally beta
/// `[H]`; then optionally bias `[H]`, also part of the sum. Outputs: the normalised sum; if asked for its mean and
/// `1 / sqrt(variance + epsilon)`, float32 `[..., 1]`, and the sum. Floats of 16 bits or more, of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct SkipLayerNormalization {
    /// What is added to the variance, or to the mean of squares.
    pub epsilon: f32,
    /// Whether the mean is taken as 0.
    pub simplified: bool,
    /// Number of outputs, 1 to 4.
    pub outputs: usize,
}

impl SkipLayerNormalization {
    fn parse(def: &mut NodeDef, simplified: bool) -> Result<Arc<dyn Operator>, OpError> {
        let outputs = def.outputs.len().clamp(1, 4);
        Ok(Arc::new(SkipLayerNormalization { epsilon: def.float_or("epsilon", 1e-12)?, simplified, outputs }))
    }

    /// The place of beta, unless there can be none.
    pub fn beta(&self) -> Option<usize> {
        (!self.simplified).then_some(3)
    }

    /// The place of the bias.
    pub fn bias(&self) -> usize {
        if self.simplified { 3 } else { 4 }
    }
}

impl Operator for SkipLayerNormalization {
    fn key(&self) -> OpKey {
        let simplified = self.simplified;
        OpKey::microsoft(if simplified {
            "SkipSimplifiedLayerNormalization"
        } else {
            "SkipLayerNormalization"
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, self.bias() + 1)?;
        let (x, skip) = (inputs.shape(0)?, inputs.shape(1)?);
        inputs.require(2)?;
        let hidden = match x.dims() {
            Some([]) => return Err(OpError::shape(0, "[..., H]", x)),
            Some([.., hidden]) => hidden.clone(),
            None => SymDim::Unknown,
        };
        let fits = match (x.concrete(), skip.concrete()) {
            (Some(x), Some(skip)) => Broadcast::onto_first(&[&x, &skip]).is_ok(),
            _ => x.broadcast(skip).is_some(),
        };
        if !fits {
            return Err(OpError::shape(1, format!("that broadcasts to {x}"), skip));
        }
        (2..=self.bias()).try_for_each(|index| check_channels(inputs, index, &hidden))?;
        let statistics: ShapeFact = match x.dims() {
            Some([lead @ .., _]) => lead.iter().cloned().chain([SymDim::Known(1)]).collect(),
            _ => ShapeFact::unknown(),
        };
        let (y, statistics) = (Fact::tensor(dtype, x.clone()), Fact::tensor(DType::F32, statistics));
        Ok([y.clone(), statistics.clone(), statistics, y].into_iter().take(self.outputs).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, skip) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let hidden = x.shape().last().copied().unwrap_or(1);
        let elements = |index: usize| inputs.optional(index)?.map(|t| Ok(t.to_f64()?)).transpose();
        let gamma = inputs.tensor(2)?.to_f64()?;
        let beta: Option<Vec<f64>> = self.beta().map_or(Ok::<_, OpError>(None), elements)?;
        let bias: Option<Vec<f64>> = elements(self.bias())?;
        let broadcast = Broadcast::onto_first(&[x.shape(), skip.shape()])?;
        let skips = skip.to_f64()?;
        let mut sum = x.to_f64()?;
        for (i, (sum, skip)) in sum.iter_mut().zip(broadcast.indices(1)).enumerate() {
            *sum += skips[skip] + bias.as_ref().map_or(0.0, |bias| bias[i % hidden]);
        }
        let rows = x.len().checked_div(hidden).unwrap_or(0);
        let (mut means, mut inverses) = (zeroed::<f64>(rows)?, zeroed::<f64>(rows)?);
        let mut y = sum.clone();
        for ((row, mean), inverse) in y.chunks_exact_mut(hidden.max(1)).zip(&mut means).zip(&mut inverses) {
            if self.simplified {
                *inverse = inverse_rms(row, self.epsilon);
            } else {
                let moments = Moments::of(row);
                (*mean, *inverse) = (moments.mean, moments.inverse_deviation(self.epsilon));
            }
            for (i, y) in row.iter_mut().enumerate() {
                *y = (*y - *mean) * *inverse * gamma[i] + beta.as_ref().map_or(0.0, |beta| beta[i]);
            }
        }
        let mut outputs = vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()];
        if self.outputs > 1 {
            let mut shape = x.shape().clone();
            shape.dims_mut().iter_mut().last().into_iter().for_each(|last| *last = 1);
            // Rows without elements have no statistics; zeros stand for them.
            means.resize(shape.elements(), 0.0);
            inverses.resize(shape.elements(), 0.0);
            outputs.push(Tensor::from_f64(DType::F32, shape.clone(), &means)?.into());
            outputs.push(Tensor::from_f64(DType::F32, shape, &inverses)?.into());
            outputs.push(Tensor::from_f64(x.dtype(), x.shape().clone(), &sum)?.into());
        }
        outputs.truncate(self.outputs);
        Ok(outputs)
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // The sum, and what layer normalisation takes.
        outputs.first().map_or(0, |y| 8 * y.element_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, run, try_run};

    fn vector(values: &[f32]) -> Tensor {
        Tensor::vector(values.to_vec())
    }

    #[test]
    fn the_sum_is_normalised_and_given() {
        let op = parse_node("com.microsoft", 1, "SkipLayerNormalization", &[], 4);
        let x = Tensor::from_vec([2, 1, 2], vec![1f32, 2., 3., 4.]).unwrap();
        let skip = Tensor::from_vec([1, 2], vec![1f32, 2.]).unwrap();
        let y = run(&*op, &[x, skip, vector(&[1., 2.]), vector(&[10., 20.]), vector(&[0., 2.])]);
        assert_eq!(y[3].as_slice::<f32>().unwrap(), [2., 6., 4., 8.]);
        assert_eq!(y[1].as_slice::<f32>().unwrap(), [4., 6.]);
        assert_eq!(y[2].as_slice::<f32>().unwrap(), [0.5, 0.5]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [9., 22., 9., 22.]);
    }

    #[test]
    fn simplified_has_no_beta() {
        let op = parse_node("com.microsoft", 1, "SkipSimplifiedLayerNormalization", &[], 1);
        let x = Tensor::from_vec([1, 2], vec![1f32, 1.]).unwrap();
        let y = run(&*op, &[x.clone(), x.clone(), vector(&[5., 10.]), vector(&[1., 2.])]);
        let expected = [15. / 12.5f32.sqrt(), 40. / 12.5f32.sqrt()];
        let y = y[0].as_slice::<f32>().unwrap();
        assert!(y.iter().zip(expected).all(|(y, e)| (y - e).abs() < 1e-5), "{y:?}");
        assert!(try_run(&*op, &[Some(x.clone()), Some(x.clone()), Some(vector(&[1.; 3]))]).is_err());
        let tall = Tensor::from_vec([2, 2], vec![1f32; 4]).unwrap();
        assert!(try_run(&*op, &[Some(x), Some(tall), Some(vector(&[1.; 2]))]).is_err());
    }
}
