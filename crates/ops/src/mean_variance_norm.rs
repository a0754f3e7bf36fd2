//! `MeanVarianceNormalization` (<https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>), the same in all
//! opsets.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::axes::index_below;
use crate::conv::same_float_types;
use crate::moments::{moments_of_sets, sets};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("MeanVarianceNormalization", 1, MeanVarianceNormalization::parse)];

/// What ONNX's definition adds to the standard deviation.
pub const EPSILON: f64 = 1e-9;

/// `(x - mean) / (standard deviation + 1e-9)`, with the moments over `axes`. Input and output: any shape, floats of 16
/// bits or more.
#[derive(Debug, Clone, PartialEq)]
pub struct MeanVarianceNormalization {
    /// The axes; negative ones count from the end.
    pub axes: Vec<i64>,
}

impl MeanVarianceNormalization {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(MeanVarianceNormalization { axes: def.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]) }))
    }

    /// For each axis, whether the moments are over it.
    ///
    /// # Errors
    /// An axis is out of range.
    pub fn normalized(&self, rank: usize) -> Result<Vec<bool>, OpError> {
        let mut normalized = vec![false; rank];
        for &axis in &self.axes {
            let axis = index_below(axis, rank).ok_or_else(|| {
                OpError::attribute("axes", format!("axes of the input's {rank} dimensions"), axis)
            })?;
            normalized[axis] = true;
        }
        Ok(normalized)
    }
}

impl Operator for MeanVarianceNormalization {
    fn key(&self) -> OpKey {
        OpKey::onnx("MeanVarianceNormalization")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        same_float_types(inputs, 1)?;
        inputs.shape(0)?.rank().map(|rank| self.normalized(rank)).transpose()?;
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let mut y = x.to_f64()?;
        if !y.is_empty() {
            let normalized = self.normalized(x.shape().rank())?;
            let (count, of) = sets(x.shape(), |axis| !normalized[axis]);
            let moments = moments_of_sets(&y, count, of.clone())?;
            for (y, set) in y.iter_mut().zip(of) {
                *y = (*y - moments[set].mean) / (moments[set].variance.sqrt() + EPSILON);
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Mean, distances, squares, their mean, division.
        outputs.first().map_or(0, |y| 6 * y.element_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn moments_are_over_the_stated_axes() {
        let x = Tensor::from_vec([1, 2, 2, 1], vec![1f32, 3., 10., 30.]).unwrap();
        let y = run(&*parse_at(13, "MeanVarianceNormalization", &[]), std::slice::from_ref(&x)).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [-1., 1., -1., 1.]);
        let op = parse_at(13, "MeanVarianceNormalization", &[("axes", Attr::Ints(vec![-3]))]);
        assert_eq!(run(&*op, std::slice::from_ref(&x))[0].as_slice::<f32>().unwrap(), [-1., -1., 1., 1.]);
        let op = parse_at(13, "MeanVarianceNormalization", &[("axes", Attr::Ints(vec![4]))]);
        assert!(try_run(&*op, &[Some(x)]).is_err());
    }
}
