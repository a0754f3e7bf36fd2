//! `CumSum`, `CumProd` (<https://onnx.ai/onnx/operators/onnx__CumSum.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::axes::index_below;
use crate::index::check_indices;
use crate::number::{Number, with_number};
use crate::types::NUMBERS;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("CumSum", 2, |def| Cumulative::parse(def, false)),
    OpEntry::onnx("CumProd", 2, |def| Cumulative::parse(def, true)),
];

/// The sum (or product) of all elements up to each along an axis. Inputs: data of any float or integer type; the axis, one
/// int32 or int64, negative counting from the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Cumulative {
    /// `CumProd`, or `CumSum`.
    pub product: bool,
    /// Whether each element itself is left out, so that the first result is 0 (or 1).
    pub exclusive: bool,
    /// Whether the axis is gone through from its end.
    pub reverse: bool,
}

impl Cumulative {
    fn parse(def: &mut NodeDef, product: bool) -> Result<Arc<dyn Operator>, OpError> {
        let (exclusive, reverse) = (def.flag("exclusive", false)?, def.flag("reverse", false)?);
        Ok(Arc::new(Cumulative { product, exclusive, reverse }))
    }

    /// The axis that input 1 names, for data of `rank` axes.
    ///
    /// # Errors
    /// It is not one number, or out of range.
    pub fn axis(axis: &[i64], rank: usize) -> Result<usize, OpError> {
        let &[axis] = axis else {
            return Err(OpError::value(1, format!("one axis is needed, got {axis:?}")));
        };
        index_below(axis, rank)
            .ok_or_else(|| OpError::value(1, format!("axis {axis} is out of range for {rank} dimensions")))
    }

    fn accumulate<N: Number>(&self, data: &Tensor, axis: usize) -> Result<Tensor, OpError> {
        let mut numbers = N::read(data)?;
        let (_, extent, inner) = data.shape().split_at_axis(axis);
        let neutral = if self.product { N::ONE } else { N::ZERO };
        for lanes in numbers.chunks_mut((extent * inner).max(1)) {
            for column in 0..inner {
                let mut total = neutral;
                for step in 0..extent {
                    let at = if self.reverse { extent - 1 - step } else { step } * inner + column;
                    let before = total;
                    total = if self.product { total.times(lanes[at]) } else { total.plus(lanes[at]) };
                    lanes[at] = if self.exclusive { before } else { total };
                }
            }
        }
        N::write(data.dtype(), data.shape().clone(), &numbers)
    }
}

impl Operator for Cumulative {
    fn key(&self) -> OpKey {
        OpKey::onnx(if self.product { "CumProd" } else { "CumSum" })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        NUMBERS.check(0, data.dtype)?;
        inputs.require(1)?;
        check_indices(inputs, 1)?;
        if let (Some(rank), Some(axis)) = (data.shape.rank(), inputs.ints(1)?) {
            Cumulative::axis(&axis, rank)?;
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let axis = Cumulative::axis(&inputs.ints(1)?, data.shape().rank())?;
        if data.is_empty() {
            return Ok(vec![data.clone().into()]);
        }
        Ok(vec![with_number!(data.dtype(), N => self.accumulate::<N>(data, axis))?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn row(op_type: &str, exclusive: bool, reverse: bool) -> Vec<i64> {
        let attrs = [("exclusive", Attr::Int(exclusive.into())), ("reverse", Attr::Int(reverse.into()))];
        let op = parse_at(26, op_type, &attrs);
        run(&*op, &[Tensor::vector(vec![1i32, 2, 3]), Tensor::scalar(0i32)])[0].to_i64().unwrap()
    }

    #[test]
    fn both_directions_with_or_without_the_element() {
        assert_eq!(row("CumSum", false, false), [1, 3, 6]);
        assert_eq!(row("CumSum", true, false), [0, 1, 3]);
        assert_eq!(row("CumSum", false, true), [6, 5, 3]);
        assert_eq!(row("CumSum", true, true), [5, 3, 0]);
        assert_eq!(row("CumProd", false, false), [1, 2, 6]);
        assert_eq!(row("CumProd", true, false), [1, 1, 2]);
        assert_eq!(row("CumProd", false, true), [6, 6, 3]);
        assert_eq!(row("CumProd", true, true), [6, 3, 1]);
    }

    #[test]
    fn any_axis_and_unfit_ones() {
        let data = Tensor::from_vec([2, 2], vec![1f64, 2.0, 3.0, 4.0]).unwrap();
        let op = Cumulative { product: false, exclusive: false, reverse: false };
        let out = run(&op, &[data.clone(), Tensor::vector(vec![-2i64])]).remove(0);
        assert_eq!(out.as_slice::<f64>().unwrap(), [1.0, 2.0, 4.0, 6.0]);
        for wrong in [vec![2i64], vec![], vec![0, 1]] {
            assert!(try_run(&op, &[Some(data.clone()), Some(Tensor::vector(wrong))]).is_err());
        }
        let empty = Tensor::zeros(inferrum_tensor::DType::F32, [1 << 60, 0]).unwrap();
        assert_eq!(run(&op, &[empty, Tensor::scalar(0i64)])[0].len(), 0);
    }
}
