//! `OneHot` (<https://onnx.ai/onnx/operators/onnx__OneHot.html>). Opset 11 made indices out of range "off" instead of
//! undefined; opset 28 added bfloat16 values.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::index_below;
use crate::extents;
use crate::index::take;
use crate::types::NUMBERS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("OneHot", 3, OneHot::parse)];

/// A new axis along which one place is "on" and the others are "off". Inputs: indices of any real type (negative ones
/// count from the end, one out of range is off everywhere), depth (a single number), values `[off, on]` of any type.
#[derive(Debug, Clone, PartialEq)]
pub struct OneHot {
    /// The new axis in the output; negative counts from the end.
    pub axis: i64,
}

impl OneHot {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(OneHot { axis: def.int_or("axis", -1)? }))
    }

    /// The new axis for indices of `rank` axes.
    ///
    /// # Errors
    /// It is out of range.
    pub fn new_axis(&self, rank: usize) -> Result<usize, OpError> {
        index_below(self.axis, rank.saturating_add(1)).ok_or_else(|| {
            OpError::attribute("axis", format!("an axis of the output's {} dimensions", rank + 1), self.axis)
        })
    }
}

impl Operator for OneHot {
    fn key(&self) -> OpKey {
        OpKey::onnx("OneHot")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (indices, depth, values) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        NUMBERS.check(0, indices.dtype)?;
        NUMBERS.check(1, depth.dtype)?;
        if values.shape.merge(&[2].into()).is_none() {
            return Err(OpError::shape(2, "[2]: off and on", &values.shape));
        }
        let extent = match inputs.ints(1)?.as_deref() {
            None => SymDim::Unknown,
            Some(&[depth]) => SymDim::Known(
                usize::try_from(depth)
                    .map_err(|_| OpError::value(1, format!("a depth is not negative, got {depth}")))?,
            ),
            Some(_) => return Err(OpError::shape(1, "scalar or [1]", &depth.shape)),
        };
        let shape = match indices.shape.dims() {
            None => ShapeFact::unknown(),
            Some(dims) => {
                let mut dims = dims.to_vec();
                dims.insert(self.new_axis(dims.len())?, extent);
                dims.into()
            }
        };
        Ok(vec![Fact::tensor(values.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let shape = extents::output_shape(self, inputs)?;
        let axis = self.new_axis(inputs.tensor(0)?.shape().rank())?;
        let (_, depth, inner) = shape.split_at_axis(axis);
        let hot: Vec<Option<usize>> =
            inputs.ints(0)?.iter().map(|&index| index_below(index, depth)).collect();
        let elements = shape.elements();
        let positions = (0..elements).map(|i| {
            let (outer, place, column) = (i / inner / depth, i / inner % depth, i % inner);
            usize::from(hot.get(outer * inner + column).copied().flatten() == Some(place))
        });
        Ok(vec![take(inputs.tensor(2)?, shape, positions)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::Tensor;

    #[test]
    fn one_place_is_on() {
        let inputs = [Tensor::vector(vec![1i64, -3, 3]), Tensor::scalar(3f32), Tensor::vector(vec![2u8, 7])];
        let out = run(&*parse_at(11, "OneHot", &[]), &inputs).remove(0);
        assert_eq!(out, Tensor::from_vec([3, 3], vec![2u8, 7, 2, 7, 2, 2, 2, 2, 2]).unwrap());
        let out = run(&*parse_at(11, "OneHot", &[("axis", Attr::Int(0))]), &inputs).remove(0);
        assert_eq!(out, Tensor::from_vec([3, 3], vec![2u8, 7, 2, 7, 2, 2, 2, 2, 2]).unwrap());
    }

    #[test]
    fn the_axis_may_stand_inside() {
        let indices = Tensor::from_vec([2, 2], vec![0i32, 1, 1, 0]).unwrap();
        let inputs = [indices, Tensor::vector(vec![2i64]), Tensor::vector(vec![false, true])];
        let out = run(&OneHot { axis: -2 }, &inputs).remove(0);
        let expected = [1, 0, 0, 1, 0, 1, 1, 0].map(|x| x == 1);
        assert_eq!(out, Tensor::from_vec([2, 2, 2], expected.to_vec()).unwrap());
        let scalar = [Tensor::scalar(1i32), Tensor::scalar(0i64), Tensor::vector(vec![0f32, 1.0])];
        assert_eq!(run(&OneHot { axis: 0 }, &scalar)[0].shape().dims(), [0]);
    }

    #[test]
    fn impossible_inputs_are_errors() {
        let run_with = |axis, depth: Tensor, values: Tensor| {
            try_run(&OneHot { axis }, &[Some(Tensor::vector(vec![0i64])), Some(depth), Some(values)])
        };
        let values = Tensor::vector(vec![0f32, 1.0]);
        assert!(run_with(-1, Tensor::scalar(-1i64), values.clone()).is_err());
        assert!(run_with(2, Tensor::scalar(1i64), values.clone()).is_err());
        assert!(run_with(-1, Tensor::vector(vec![1i64, 2]), values).is_err());
        assert!(run_with(-1, Tensor::scalar(1i64), Tensor::vector(vec![0f32])).is_err());
    }
}
