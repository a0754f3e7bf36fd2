//! `ConstantOfShape` (<https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html>). Later opsets only added element types.

use std::iter::repeat_n;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::extents::{self, extents_input};
use crate::index::{check_index_list, take};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("ConstantOfShape", 1, ConstantOfShape::parse)];

/// A tensor of which every element is the same. Input: shape `[R]` int64.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstantOfShape {
    /// The element, one of any type: float32 zero unless the file states it.
    pub value: Tensor,
}

impl ConstantOfShape {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let value = def.tensor("value")?.unwrap_or_else(|| Tensor::scalar(0f32));
        if value.len() != 1 {
            return Err(OpError::attribute("value", "a tensor of one element", format!("{value:?}")));
        }
        Ok(Arc::new(ConstantOfShape { value }))
    }
}

impl Operator for ConstantOfShape {
    fn key(&self) -> OpKey {
        OpKey::onnx("ConstantOfShape")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let listed = inputs.shape(0)?;
        check_index_list(inputs, 0)?;
        let shape = match (inputs.ints(0)?, listed.dims()) {
            (Some(extents), _) => extents_input(0, &extents)?.into(),
            (None, Some([SymDim::Known(rank)])) if *rank <= 64 => ShapeFact::of_rank(*rank),
            (None, Some([_]) | None) => ShapeFact::unknown(),
            (None, Some(_)) => return Err(OpError::shape(0, "[R]", listed)),
        };
        Ok(vec![Fact::tensor(self.value.dtype(), shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let shape = extents::output_shape(self, inputs)?;
        let elements = shape.elements();
        Ok(vec![take(&self.value, shape, repeat_n(0, elements))?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::DType;

    #[test]
    fn every_element_is_the_value() {
        let op = parse_at(9, "ConstantOfShape", &[("value", Attr::Tensor(Tensor::vector(vec![7i32])))]);
        let out = run(&*op, &[Tensor::vector(vec![2i64, 3])]).remove(0);
        assert_eq!(out, Tensor::from_vec([2, 3], vec![7i32; 6]).unwrap());
        let op = parse_at(9, "ConstantOfShape", &[]);
        assert_eq!(run(&*op, &[Tensor::vector(Vec::<i64>::new())])[0], Tensor::scalar(0f32));
        assert_eq!(run(&*op, &[Tensor::vector(vec![0i64])])[0].shape().dims(), [0]);
        for wrong in [vec![-1i64], vec![i64::MAX, 2]] {
            assert!(try_run(&*op, &[Some(Tensor::vector(wrong))]).is_err());
        }
    }

    #[test]
    fn the_rank_follows_from_the_length() {
        let op = ConstantOfShape { value: Tensor::scalar(0f32) };
        let fact = op.infer(Facts(&[Some(&Fact::tensor(DType::I64, [3]))])).unwrap().remove(0);
        assert_eq!(fact, Fact::tensor(DType::F32, ShapeFact::of_rank(3)));
        assert!(op.infer(Facts(&[Some(&Fact::tensor(DType::I64, [3, 1]))])).is_err());
    }
}
