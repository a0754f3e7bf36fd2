//! `Softmax`, `LogSoftmax` (<https://onnx.ai/onnx/operators/onnx__Softmax.html>).
//!
//! Before opset 13 the input was flattened to two dimensions at `axis` (default 1); since then one axis is normalised
//! (default -1). The old form over more than one trailing axis is kept as `flatten`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("Softmax", 1, |def| Softmax::parse(def, false)),
    OpEntry::onnx("LogSoftmax", 1, |def| Softmax::parse(def, true)),
];

/// `exp(x) / sum(exp(x))` along an axis, or its logarithm. Input and output: any shape, any float.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether all axes from `axis` on are normalised together.
    pub flatten: bool,
    /// Whether the logarithm is taken.
    pub log: bool,
}

impl Softmax {
    fn parse(def: &mut NodeDef, log: bool) -> Result<Arc<dyn Operator>, OpError> {
        let flatten = def.opset < 13;
        let axis = def.int_or("axis", if flatten { 1 } else { -1 })?;
        Ok(Arc::new(Softmax { axis, flatten, log }))
    }

    /// Rows, elements of a row, and elements between two neighbours of a row, for an input of `shape`.
    ///
    /// # Errors
    /// The axis is out of range.
    pub fn extents(&self, shape: &inferrum_tensor::Shape) -> Result<(usize, usize, usize), OpError> {
        // A scalar is one row of one element; a flattened axis may be the rank itself (rows of one element).
        if shape.rank() == 0 || (self.flatten && self.axis == shape.rank() as i64) {
            return Ok((shape.elements(), 1, 1));
        }
        let axis = shape.axis(self.axis).ok_or_else(|| {
            OpError::attribute(
                "axis",
                format!("an axis of the input's {} dimensions", shape.rank()),
                self.axis,
            )
        })?;
        let (outer, extent, inner) = shape.split_at_axis(axis);
        Ok(if self.flatten { (outer, extent.saturating_mul(inner), 1) } else { (outer, extent, inner) })
    }
}

impl Operator for Softmax {
    fn key(&self) -> OpKey {
        OpKey::onnx(if self.log { "LogSoftmax" } else { "Softmax" })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let input = inputs.tensor(0)?;
        if !input.dtype.is_float() {
            return Err(OpError::dtype(0, "a float type", input.dtype));
        }
        if let Some(shape) = input.shape.concrete() {
            self.extents(&shape)?;
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (outer, extent, inner) = self.extents(x.shape())?;
        let mut y = x.to_f64()?;
        for row in 0..outer {
            for column in 0..inner {
                let at = |i: usize| (row * extent + i) * inner + column;
                let greatest = (0..extent).map(|i| y[at(i)]).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..extent).map(|i| (y[at(i)] - greatest).exp()).sum();
                for i in 0..extent {
                    let shifted = y[at(i)] - greatest;
                    y[at(i)] = if self.log { shifted - sum.ln() } else { shifted.exp() / sum };
                }
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Maximum, subtraction, exponential, sum, division.
        5 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};

    #[test]
    fn rows_sum_to_one_and_keep_their_order() {
        let op = parse_at(13, "Softmax", &[]);
        let y = run(&*op, &[Tensor::from_vec([2, 2], vec![1f32, 2., 1e30, -1e30]).unwrap()]).remove(0);
        let y = y.as_slice::<f32>().unwrap().to_vec();
        assert!((y[0] - 0.268_941_4).abs() < 1e-6 && (y[0] + y[1] - 1.0).abs() < 1e-6);
        assert_eq!(&y[2..], [1.0, 0.0]);
    }

    #[test]
    fn before_opset_13_trailing_axes_are_one_row() {
        let op = parse_at(11, "Softmax", &[]);
        let y = run(&*op, &[Tensor::zeros(inferrum_tensor::DType::F32, [1, 2, 2]).unwrap()]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [0.25; 4]);
    }

    #[test]
    fn an_axis_out_of_range_is_an_error() {
        let op = Softmax { axis: 2, flatten: false, log: false };
        let fact = Fact::tensor(inferrum_tensor::DType::F32, [2, 3]);
        assert!(matches!(op.infer(Facts(&[Some(&fact)])), Err(OpError::Attribute { .. })));
    }
}
