//! `ArgMax`, `ArgMin` (<https://onnx.ai/onnx/operators/onnx__ArgMax.html>). Opset 12 added `select_last_index`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::extents;
use crate::number::{Number, with_number};
use crate::types::NUMBERS;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("ArgMax", 1, |def| ArgReduce::parse(def, true)),
    OpEntry::onnx("ArgMin", 1, |def| ArgReduce::parse(def, false)),
];

/// The index of the greatest or least element along an axis. Input: any float or integer type. Output: int64. A NaN counts
/// as both, as in NumPy.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgReduce {
    /// `ArgMax`, or `ArgMin`.
    pub greatest: bool,
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether the axis stays, with extent 1.
    pub keep_dims: bool,
    /// Which of equals: the last, or the first.
    pub select_last_index: bool,
}

impl ArgReduce {
    fn parse(def: &mut NodeDef, greatest: bool) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(ArgReduce {
            greatest,
            axis: def.int_or("axis", 0)?,
            keep_dims: def.flag("keepdims", true)?,
            select_last_index: def.flag("select_last_index", false)?,
        }))
    }

    /// Whether `new`, which stands behind `best`, takes its place.
    fn wins<N: Number>(&self, new: N, best: N) -> bool {
        let order = if self.greatest { new.order(best) } else { best.order(new) };
        // The order puts NaN last; it must win for the least, too.
        let order = if !self.greatest && (new.is_nan() || best.is_nan()) { order.reverse() } else { order };
        order.is_gt() || (self.select_last_index && order.is_eq())
    }
}

impl Operator for ArgReduce {
    fn key(&self) -> OpKey {
        OpKey::onnx(if self.greatest { "ArgMax" } else { "ArgMin" })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        NUMBERS.check(0, data.dtype)?;
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(DType::I64)]) };
        let (axis, mut dims) = (axis_attr(self.axis, dims.len())?, dims.to_vec());
        let extent = std::mem::replace(&mut dims[axis], SymDim::Known(1));
        if extent == SymDim::Known(0) && extents::product(&dims) != SymDim::Known(0) {
            return Err(OpError::shape(0, format!("an element along axis {axis}"), &data.shape));
        }
        if !self.keep_dims {
            dims.remove(axis);
        }
        Ok(vec![Fact::tensor(DType::I64, ShapeFact::from(dims))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let (_, extent, inner) = data.shape().split_at_axis(axis_attr(self.axis, data.shape().rank())?);
        let mut indices = zeroed::<i64>(shape.elements())?;
        with_number!(data.dtype(), N => {
            let numbers = N::read(data)?;
            for (i, index) in indices.iter_mut().enumerate() {
                let (row, column) = (i / inner, i % inner);
                let number = |at: usize| numbers[(row * extent + at) * inner + column];
                let best = (1..extent).fold(0, |best, at| if self.wins(number(at), number(best)) { at } else { best });
                *index = best as i64;
            }
        });
        Ok(vec![Tensor::from_vec(shape, indices)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        inputs.get(0).and_then(Fact::concrete_shape).map_or(0, |shape| shape.elements() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn index_of(op_type: &str, last: bool, row: Vec<f32>) -> i64 {
        let op = parse_at(12, op_type, &[("select_last_index", Attr::Int(last.into()))]);
        let out = run(&*op, &[Tensor::vector(row)]).remove(0);
        assert_eq!(out.shape().dims(), [1]);
        out.to_i64().unwrap()[0]
    }

    #[test]
    fn the_first_or_last_of_equals_is_taken() {
        let row = vec![1.0, 3.0, 1.0, 3.0, 2.0];
        assert_eq!(index_of("ArgMax", false, row.clone()), 1);
        assert_eq!(index_of("ArgMax", true, row.clone()), 3);
        assert_eq!(index_of("ArgMin", false, row.clone()), 0);
        assert_eq!(index_of("ArgMin", true, row), 2);
        let nan = vec![1.0, f32::NAN, 9.0, f32::NAN, -9.0];
        assert_eq!(index_of("ArgMax", false, nan.clone()), 1);
        assert_eq!(index_of("ArgMin", false, nan.clone()), 1);
        assert_eq!(index_of("ArgMax", true, nan.clone()), 3);
        assert_eq!(index_of("ArgMin", true, nan), 3);
    }

    #[test]
    fn any_axis_and_type() {
        let data = Tensor::from_vec([2, 3], vec![1u8, 9, 3, 4, 5, 6]).unwrap();
        let op = ArgReduce { greatest: true, axis: -1, keep_dims: false, select_last_index: false };
        assert_eq!(run(&op, std::slice::from_ref(&data))[0], Tensor::vector(vec![1i64, 2]));
        let op = ArgReduce { axis: 0, keep_dims: true, ..op };
        assert_eq!(run(&op, &[data])[0], Tensor::from_vec([1, 3], vec![1i64, 0, 1]).unwrap());
        assert_eq!(run(&op, &[Tensor::zeros(DType::F32, [0, 0]).unwrap()])[0].shape().dims(), [1, 0]);
        assert!(try_run(&op, &[Some(Tensor::zeros(DType::F32, [0, 2]).unwrap())]).is_err());
        assert!(try_run(&op, &[Some(Tensor::scalar(1f32))]).is_err());
    }
}
