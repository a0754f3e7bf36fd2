//! `GroupNormalization` (<https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>). In opset 18 scale and bias had
//! one entry for each group; since 21 one for each channel.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::conv::{check_channels, same_float_types};
use crate::moments::{Moments, stash_type};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("GroupNormalization", 3, GroupNormalization::parse)];

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, with the moments of each group of channels of each instance.
/// Inputs: X `[N, C, D1, ...]`, scale `[C]`, bias `[C]`; output like X. Floats of 16 bits or more, of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNormalization {
    /// Number of groups, a divisor of C.
    pub groups: usize,
    /// What is added to the variance.
    pub epsilon: f32,
    /// Whether scale and bias have one entry for each group.
    pub per_group: bool,
    /// The type in which the moments are computed at least.
    pub stash: DType,
}

impl GroupNormalization {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let per_group = def.opset < 21;
        let groups = def.int("num_groups")?;
        let expected = || {
            let got = groups.map_or("nothing".to_owned(), |groups| groups.to_string());
            OpError::attribute("num_groups", "1 or more", got)
        };
        let groups = groups.and_then(|g| usize::try_from(g).ok()).filter(|&g| g > 0).ok_or_else(expected)?;
        let stash = if per_group { DType::F32 } else { stash_type(def)? };
        let epsilon = def.float_or("epsilon", 1e-5)?;
        Ok(Arc::new(GroupNormalization { groups, epsilon, per_group, stash }))
    }
}

impl Operator for GroupNormalization {
    fn key(&self) -> OpKey {
        OpKey::onnx("GroupNormalization")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        same_float_types(inputs, 3)?;
        let x = inputs.shape(0)?;
        let fits = x.dim(1).known().is_none_or(|channels| channels.is_multiple_of(self.groups));
        if x.rank().is_some_and(|rank| rank < 2) || !fits {
            return Err(OpError::shape(0, format!("[N, a multiple of {} groups, D1, ...]", self.groups), x));
        }
        for index in [1, 2] {
            inputs.require(index)?;
            check_channels(
                inputs,
                index,
                &if self.per_group { SymDim::Known(self.groups) } else { x.dim(1) },
            )?;
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (scale, bias) = (inputs.tensor(1)?.to_f64()?, inputs.tensor(2)?.to_f64()?);
        let mut y = x.to_f64()?;
        let plane: usize = x.shape()[2..].iter().fold(1, |p: usize, &n| p.saturating_mul(n));
        let channels = x.shape()[1] / self.groups;
        let group_elements = channels.saturating_mul(plane);
        for (i, group_of_channels) in y.chunks_exact_mut(group_elements.max(1)).enumerate() {
            let group = i % self.groups;
            let moments = Moments::of(group_of_channels);
            let inverse = moments.inverse_deviation(self.epsilon);
            for (channel, plane) in group_of_channels.chunks_exact_mut(plane.max(1)).enumerate() {
                let entry = if self.per_group { group } else { group * channels + channel };
                plane
                    .iter_mut()
                    .for_each(|y| *y = (*y - moments.mean) * inverse * scale[entry] + bias[entry]);
            }
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
    fn parameters_of_channels_or_of_groups() {
        let x = Tensor::from_vec([1, 4, 1], vec![1f32, 3., 10., 30.]).unwrap();
        let attrs = [("num_groups", Attr::Int(2)), ("epsilon", Attr::Float(0.0))];
        let run = |opset: i64, scale: &[f32]| {
            let bias = Tensor::vector(vec![1f32; scale.len()]);
            run(
                &*parse_at(opset, "GroupNormalization", &attrs),
                &[x.clone(), Tensor::vector(scale.to_vec()), bias],
            )
        };
        assert_eq!(run(21, &[1., 2., 3., 4.])[0].as_slice::<f32>().unwrap(), [0., 3., -2., 5.]);
        assert_eq!(run(18, &[1., 2.])[0].as_slice::<f32>().unwrap(), [0., 2., -1., 3.]);
        let op = parse_at(21, "GroupNormalization", &[("num_groups", Attr::Int(3))]);
        let four = || Some(Tensor::vector(vec![1f32; 4]));
        assert!(try_run(&*op, &[Some(x.clone()), four(), four()]).is_err());
    }
}
