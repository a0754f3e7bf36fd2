//! `ConcatFromSequence` (<https://onnx.ai/onnx/operators/onnx__ConcatFromSequence.html>), one version only, opset 11.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Shape, Tensor, Value};

use crate::OpEntry;
use crate::pieces::{join, stack};
use crate::sequence::item_fact;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("ConcatFromSequence", 1, ConcatFromSequence::parse)];

/// Joins the tensors of a sequence, which has at least one; they agree in all other extents and in their type.
#[derive(Debug, Clone, PartialEq)]
pub struct ConcatFromSequence {
    /// The axis of the result along which they are joined; negative counts from the end.
    pub axis: i64,
    /// Whether that axis is new; the tensors are of one shape then.
    pub new_axis: bool,
}

impl ConcatFromSequence {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let axis = def.int("axis")?.ok_or_else(|| OpError::attribute("axis", "an axis", "nothing"))?;
        Ok(Arc::new(ConcatFromSequence { axis, new_axis: def.flag("new_axis", false)? }))
    }

    /// The axis, for items of the given rank.
    fn axis(&self, rank: usize) -> Result<usize, OpError> {
        let rank = rank + usize::from(self.new_axis);
        let axis = Shape::from(vec![0; rank]).axis(self.axis);
        axis.ok_or_else(|| {
            OpError::attribute("axis", format!("an axis of the result's {rank} dimensions"), self.axis)
        })
    }
}

impl Operator for ConcatFromSequence {
    fn key(&self) -> OpKey {
        OpKey::onnx("ConcatFromSequence")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let item = item_fact(inputs, 0)?;
        let Fact::Tensor(tensor) = &item else { return Ok(vec![Fact::Unknown]) };
        let Some(dims) = tensor.shape.dims() else { return Ok(vec![item]) };
        let axis = self.axis(dims.len())?;
        let mut dims = dims.to_vec();
        if self.new_axis {
            dims.insert(axis, SymDim::Unknown);
        } else {
            dims[axis] = SymDim::Unknown;
        }
        Ok(vec![Fact::tensor(tensor.dtype, ShapeFact::from(dims))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let items = inputs.sequence(0)?;
        let tensors: Vec<&Tensor> = items
            .iter()
            .map(|item| item.as_tensor().ok_or_else(|| OpError::value(0, "the items must be tensors")))
            .collect::<Result<_, _>>()?;
        let axis = self.axis(tensors.first().map_or(0, |tensor| tensor.shape().rank()))?;
        Ok(vec![if self.new_axis { stack(&tensors, axis)? } else { join(&tensors, axis)? }.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_tensor::DType;

    fn joined(op: &ConcatFromSequence, shapes: &[&[usize]]) -> Result<Vec<usize>, OpError> {
        let items = shapes.iter().map(|&s| Tensor::zeros(DType::U8, s).unwrap().into()).collect();
        let value = Value::Sequence(items);
        let fact = Inputs(&[Some(&value)]).with_facts(|facts| op.infer(facts))?.remove(0);
        let output = op.reference(Inputs(&[Some(&value)]))?.remove(0);
        assert!(fact.merge(&Fact::of(&output)).is_some(), "{fact} but {}", output.describe());
        Ok(output.as_tensor().unwrap().shape().to_vec())
    }

    #[test]
    fn axes_are_joined_or_new() {
        let op = |axis, new_axis| ConcatFromSequence { axis, new_axis };
        assert_eq!(joined(&op(-1, false), &[&[2, 3], &[2, 0], &[2, 1]]).unwrap(), [2, 4]);
        assert_eq!(joined(&op(0, false), &[&[2, 3], &[1, 3]]).unwrap(), [3, 3]);
        assert_eq!(joined(&op(-1, true), &[&[2, 3], &[2, 3]]).unwrap(), [2, 3, 2]);
        assert_eq!(joined(&op(-3, true), &[&[2, 3], &[2, 3]]).unwrap(), [2, 2, 3]);
        assert_eq!(joined(&op(0, true), &[&[], &[]]).unwrap(), [2]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let op = |axis, new_axis| ConcatFromSequence { axis, new_axis };
        assert!(joined(&op(0, false), &[]).is_err());
        assert!(joined(&op(0, false), &[&[]]).is_err());
        assert!(joined(&op(0, false), &[&[2, 3], &[2, 4]]).is_err());
        assert!(joined(&op(3, true), &[&[2, 3]]).is_err());
        assert!(joined(&op(0, true), &[&[2, 3], &[3, 3]]).is_err());
    }
}
