//! Any operator over images, with its images laid out channels last.
//!
//! ONNX lays images out as [N, C, spatial axes]; many devices compute faster on [N, spatial axes, C]. A backend's
//! layout pass wraps an operator so, puts `Transpose` around it, and cancels the transposes that meet.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Tensor, Value};

use crate::transpose::Transpose;

/// `inner`, of which the inputs `images` and every output are [N, spatial axes, C] instead of [N, C, spatial axes].
#[derive(Debug, Clone)]
pub struct ChannelsLast {
    /// The operator on [N, C, spatial axes].
    pub inner: Arc<dyn Operator>,
    /// Positions of the inputs that are images; weights and the like are as `inner` has them.
    pub images: Vec<usize>,
}

/// For each axis of [N, spatial axes, C], which axis of [N, C, spatial axes] it is; as `Transpose` wants it.
pub fn to_channels_last(rank: usize) -> Vec<usize> {
    let spatial = 2..rank;
    [0].into_iter().chain(spatial).chain([1]).take(rank).collect()
}

/// For each axis of [N, C, spatial axes], which axis of [N, spatial axes, C] it is; as `Transpose` wants it.
pub fn to_channels_first(rank: usize) -> Vec<usize> {
    [0, rank.saturating_sub(1)].into_iter().chain(1..rank.saturating_sub(1)).take(rank).collect()
}

impl ChannelsLast {
    /// The fact of an image with its axes in another order; known elements are dropped.
    fn permuted(fact: &Fact, perm: impl Fn(usize) -> Vec<usize>) -> Fact {
        match fact.as_tensor() {
            None => fact.clone(),
            Some(tensor) => {
                let shape = match tensor.shape.dims() {
                    None => ShapeFact::unknown(),
                    Some(dims) => perm(dims.len()).into_iter().map(|axis| dims[axis].clone()).collect(),
                };
                Fact::tensor(tensor.dtype, shape)
            }
        }
    }

    /// What `inner` sees of the inputs, handed to `f`.
    pub fn with_inner_facts<R>(&self, inputs: Facts<'_>, f: impl FnOnce(Facts<'_>) -> R) -> R {
        let facts: Vec<Option<Fact>> = (0..inputs.len())
            .map(|index| {
                let fact = inputs.get(index)?;
                let image = self.images.contains(&index);
                Some(if image { ChannelsLast::permuted(fact, to_channels_first) } else { fact.clone() })
            })
            .collect();
        f(Facts(&facts.iter().map(Option::as_ref).collect::<Vec<_>>()))
    }
}

impl Operator for ChannelsLast {
    fn key(&self) -> OpKey {
        OpKey::fused("ChannelsLast")
    }

    fn label(&self) -> String {
        self.inner.label()
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let outputs = self.with_inner_facts(inputs, |facts| self.inner.infer(facts))?;
        Ok(outputs.iter().map(|fact| ChannelsLast::permuted(fact, to_channels_last)).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let mut first = Vec::with_capacity(inputs.len());
        for index in 0..inputs.len() {
            first.push(match (inputs.get(index), self.images.contains(&index)) {
                (None, _) => None,
                (Some(value), false) => Some(value.clone()),
                (Some(_), true) => Some(transpose(inputs.tensor(index)?, to_channels_first)?.into()),
            });
        }
        let outputs = self.inner.reference(Inputs(&first.iter().map(Option::as_ref).collect::<Vec<_>>()))?;
        let last = |value: Value| match value {
            Value::Tensor(tensor) => transpose(&tensor, to_channels_last).map(Value::Tensor),
            other => Ok(other),
        };
        outputs.into_iter().map(last).collect()
    }

    fn value_inputs(&self) -> &[usize] {
        self.inner.value_inputs()
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let first: Vec<Fact> =
            outputs.iter().map(|fact| ChannelsLast::permuted(fact, to_channels_first)).collect();
        self.with_inner_facts(inputs, |facts| self.inner.flops(facts, &first))
    }
}

fn transpose(tensor: &Tensor, perm: impl Fn(usize) -> Vec<usize>) -> Result<Tensor, OpError> {
    let transpose = Transpose { perm: Some(perm(tensor.shape().rank())) };
    let value = Value::Tensor(tensor.clone());
    let output =
        transpose.reference(Inputs(&[Some(&value)]))?.into_iter().next().and_then(Value::into_tensor);
    output.ok_or_else(|| OpError::Invalid("Transpose gave no tensor".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softmax::Softmax;
    use crate::testing::run;

    #[test]
    fn permutations_are_inverse() {
        for rank in 0..6 {
            let (last, first) = (to_channels_last(rank), to_channels_first(rank));
            assert!((0..rank).all(|axis| last[first[axis]] == axis), "{last:?} {first:?}");
        }
        assert_eq!(to_channels_last(4), [0, 2, 3, 1]);
        assert_eq!(to_channels_first(4), [0, 3, 1, 2]);
    }

    #[test]
    fn the_inner_operator_sees_channels_first() {
        // Softmax over axis 1, the channels; which are the innermost axis here.
        let inner = Arc::new(Softmax { axis: 1, flatten: false, log: false });
        let op = ChannelsLast { inner, images: vec![0] };
        let x = Tensor::from_vec([1, 3, 1, 2], vec![0f32, 0.0, 5.0, 5.0, 0.0, 1000.0]).unwrap();
        assert_eq!(run(&op, &[x])[0].as_slice::<f32>().unwrap(), [0.5, 0.5, 0.5, 0.5, 0.0, 1.0]);
    }
}
