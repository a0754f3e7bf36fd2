//! `LpNormalization` (<https://onnx.ai/onnx/operators/onnx__LpNormalization.html>), the same in all opsets.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::conv::same_float_types;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("LpNormalization", 1, LpNormalization::parse)];

/// `x / norm(x)` along an axis; 0 where the norm is 0. Input and output: any shape, floats of 16 bits or more.
#[derive(Debug, Clone, PartialEq)]
pub struct LpNormalization {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Which norm: 1, the sum of magnitudes, or 2, the root of the sum of squares.
    pub p: u8,
}

impl LpNormalization {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let p = match def.int_or("p", 2)? {
            1 => 1,
            2 => 2,
            other => return Err(OpError::attribute("p", "1 or 2", other)),
        };
        Ok(Arc::new(LpNormalization { axis: def.int_or("axis", -1)?, p }))
    }
}

impl Operator for LpNormalization {
    fn key(&self) -> OpKey {
        OpKey::onnx("LpNormalization")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        same_float_types(inputs, 1)?;
        inputs.shape(0)?.rank().map(|rank| axis_attr(self.axis, rank)).transpose()?;
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (outer, extent, inner) = x.shape().split_at_axis(axis_attr(self.axis, x.shape().rank())?);
        let mut y = x.to_f64()?;
        for row in if x.is_empty() { 0..0 } else { 0..outer } {
            for column in 0..inner {
                let at = |i: usize| (row * extent + i) * inner + column;
                let values = (0..extent).map(|i| y[at(i)]);
                let norm = match self.p {
                    1 => values.map(f64::abs).sum::<f64>(),
                    _ => values.map(|x| x * x).sum::<f64>().sqrt(),
                };
                for i in 0..extent {
                    y[at(i)] = if norm == 0.0 { 0.0 } else { y[at(i)] / norm };
                }
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |y| 3 * y.element_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};
    use inferrum_graph::Attr;

    #[test]
    fn both_norms_along_either_axis() {
        let x = Tensor::from_vec([2, 2], vec![3f32, -4., 0., 0.]).unwrap();
        let y = |attrs: &[(&str, Attr)]| {
            run(&*parse_at(22, "LpNormalization", attrs), std::slice::from_ref(&x)).remove(0)
        };
        assert_eq!(y(&[]).as_slice::<f32>().unwrap(), [0.6, -0.8, 0., 0.]);
        assert_eq!(y(&[("p", Attr::Int(1))]).as_slice::<f32>().unwrap(), [3. / 7., -4. / 7., 0., 0.]);
        assert_eq!(y(&[("axis", Attr::Int(0))]).as_slice::<f32>().unwrap(), [1., -1., 0., 0.]);
    }
}
