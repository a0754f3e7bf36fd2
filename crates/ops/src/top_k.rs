//! `TopK` (<https://onnx.ai/onnx/operators/onnx__TopK.html>).
//!
//! Before opset 10 `k` was an attribute; `largest` and `sorted` came with opset 11.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::index::{check_indices, take};
use crate::number::{Number, with_number};
use crate::types::NUMBERS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("TopK", 2, TopK::parse).before(&[(10, 1)])];

/// The `k` largest or smallest elements along an axis, and their indices (int64). Inputs: data of any float or integer type;
/// `k`, one int64. Among equals the lower index comes first; NaN counts as the largest.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether the largest are wanted, or the smallest.
    pub largest: bool,
    /// Whether their order matters: the largest (smallest) first. The reference always sorts.
    pub sorted: bool,
}

impl TopK {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        if let Some(k) = def.int("k")? {
            def.lift(1, Tensor::vector(vec![k]));
        }
        Ok(Arc::new(TopK {
            axis: def.int_or("axis", -1)?,
            largest: def.flag("largest", true)?,
            sorted: def.flag("sorted", true)?,
        }))
    }

    /// `k` as a count, of which an axis of `extent` (if known) has enough.
    ///
    /// # Errors
    /// It is not one number, negative, or too large.
    pub fn count(k: &[i64], extent: Option<usize>) -> Result<usize, OpError> {
        let &[k] = k else { return Err(OpError::value(1, format!("k is one number, got {k:?}"))) };
        usize::try_from(k).ok().filter(|&k| extent.is_none_or(|extent| k <= extent)).ok_or_else(|| {
            let most = extent.map_or("the axis's extent".into(), |extent| extent.to_string());
            OpError::value(1, format!("k is from 0 to {most}, got {k}"))
        })
    }

    /// For each output element, the index along the axis of the element that it is.
    fn select<N: Number>(
        &self,
        numbers: &[N],
        (outer, extent, inner): (usize, usize, usize),
        k: usize,
    ) -> Result<Vec<i64>, OpError> {
        let mut chosen = zeroed::<i64>(outer.saturating_mul(k).saturating_mul(inner))?;
        let mut lane: Vec<usize> = Vec::new();
        for (row, chosen) in chosen.chunks_exact_mut(k.saturating_mul(inner).max(1)).enumerate() {
            for column in 0..inner {
                let number = |i: usize| numbers[(row * extent + i) * inner + column];
                lane.clear();
                lane.extend(0..extent);
                // A stable sort keeps equals by their index.
                lane.sort_by(|&a, &b| {
                    let (a, b) = if self.largest { (b, a) } else { (a, b) };
                    number(a).order(number(b))
                });
                lane.iter().take(k).enumerate().for_each(|(i, &at)| chosen[i * inner + column] = at as i64);
            }
        }
        Ok(chosen)
    }
}

impl Operator for TopK {
    fn key(&self) -> OpKey {
        OpKey::onnx("TopK")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        NUMBERS.check(0, data.dtype)?;
        inputs.require(1)?;
        check_indices(inputs, 1)?;
        let Some(dims) = data.shape.dims() else {
            return Ok(vec![Fact::of_dtype(data.dtype), Fact::of_dtype(DType::I64)]);
        };
        let (axis, mut dims) = (axis_attr(self.axis, dims.len())?, dims.to_vec());
        dims[axis] = match inputs.ints(1)? {
            Some(k) => SymDim::Known(TopK::count(&k, dims[axis].known())?),
            None => SymDim::Unknown,
        };
        Ok(vec![Fact::tensor(data.dtype, dims.clone()), Fact::tensor(DType::I64, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let axis = axis_attr(self.axis, data.shape().rank())?;
        let extents @ (_, extent, inner) = data.shape().split_at_axis(axis);
        let k = TopK::count(&inputs.ints(1)?, Some(extent))?;
        let mut shape = data.shape().clone();
        shape.dims_mut()[axis] = k;
        let indices = with_number!(data.dtype(), N => self.select(&N::read(data)?, extents, k))?;
        let positions = indices.iter().enumerate().map(|(i, &index)| {
            let (row, column) = (i / inner / k, i % inner);
            (row * extent + index as usize) * inner + column
        });
        let values = take(data, shape.clone(), positions)?;
        Ok(vec![values.into(), Tensor::from_vec(shape, indices)?.into()])
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

    fn top(attrs: &[(&str, Attr)], data: Tensor, k: i64) -> (Tensor, Vec<i64>) {
        let outputs = run(&*parse_at(11, "TopK", attrs), &[data, Tensor::vector(vec![k])]);
        (outputs[0].clone(), outputs[1].to_i64().unwrap())
    }

    #[test]
    fn equals_keep_their_order_and_nan_is_largest() {
        let data = Tensor::vector(vec![1f32, f32::NAN, 3.0, 1.0, 3.0]);
        let (values, indices) = top(&[], data.clone(), 4);
        assert!(values.as_slice::<f32>().unwrap()[0].is_nan());
        assert_eq!(indices, [1, 2, 4, 0]);
        let (values, indices) = top(&[("largest", Attr::Int(0)), ("sorted", Attr::Int(0))], data, 3);
        assert_eq!((values, indices), (Tensor::vector(vec![1f32, 1.0, 3.0]), vec![0, 3, 2]));
    }

    #[test]
    fn any_axis_and_any_count() {
        let data = Tensor::from_vec([3, 2], vec![1u64, u64::MAX, 5, u64::MAX - 1, 3, 0]).unwrap();
        let (values, indices) = top(&[("axis", Attr::Int(0))], data.clone(), 2);
        let expected = Tensor::from_vec([2, 2], vec![5u64, u64::MAX, 3, u64::MAX - 1]).unwrap();
        assert_eq!((values, indices), (expected, vec![1, 0, 2, 1]));
        assert_eq!(top(&[], data.clone(), 0).0.shape().dims(), [3, 0]);
        let empty = Tensor::zeros(DType::F32, [0, 4]).unwrap();
        assert_eq!(top(&[], empty, 3).0.shape().dims(), [0, 3]);
        for k in [vec![3i64], vec![-1], vec![1, 1]] {
            let op = TopK { axis: 1, largest: true, sorted: true };
            assert!(try_run(&op, &[Some(data.clone()), Some(Tensor::vector(k))]).is_err());
        }
    }

    #[test]
    fn the_old_attribute_becomes_an_input() {
        let mut def = NodeDef::new("TopK", 9, [("k".to_owned(), Attr::Int(2))].into());
        crate::parse("", &mut def).unwrap().unwrap();
        assert_eq!(def.finish().unwrap(), [(1, Tensor::vector(vec![2i64]))]);
    }
}
