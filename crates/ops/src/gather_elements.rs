//! `GatherElements` (<https://onnx.ai/onnx/operators/onnx__GatherElements.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Shape, Value};

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::gather::resolve_one;
use crate::index::{PerAxis, check_indices, offsets, strides, take};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("GatherElements", 2, GatherElements::parse)];

/// Elements whose place on one axis is an index, and on the others that of the index itself. Inputs: data of any type;
/// indices, int32 or int64, of the same rank and nowhere longer save along the axis. Output: the indices' shape.
#[derive(Debug, Clone, PartialEq)]
pub struct GatherElements {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

impl GatherElements {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(GatherElements { axis: def.int_or("axis", 0)? }))
    }
}

/// Checks that `indices` (input 1) has the data's rank and is nowhere longer, save along the axis. Gives the axis, if the
/// rank is known.
///
/// # Errors
/// [`OpError::Shape`]; the axis is out of range.
pub(crate) fn check_shapes(
    data: &ShapeFact,
    indices: &ShapeFact,
    axis: i64,
) -> Result<Option<usize>, OpError> {
    let Some(rank) = data.rank().or(indices.rank()) else { return Ok(None) };
    let axis = axis_attr(axis, rank)?;
    let (Some(whole), Some(part)) = (data.dims(), indices.dims()) else { return Ok(Some(axis)) };
    let longer =
        |i: usize| matches!((whole[i].known(), part[i].known()), (Some(whole), Some(part)) if part > whole);
    if whole.len() != part.len() || (0..rank).any(|i| i != axis && longer(i)) {
        let expected = format!("at most {data} as the data, save at axis {axis}");
        return Err(OpError::shape(1, expected, indices));
    }
    Ok(Some(axis))
}

/// For each of `indices`, of shape `shape`, the position of the element it means in data of shape `data`.
///
/// # Errors
/// [`OpError::Value`] when an index is out of range.
pub(crate) fn positions<'a>(
    data: &Shape,
    shape: &Shape,
    indices: &'a [i64],
    axis: usize,
) -> impl Iterator<Item = Result<usize, OpError>> + use<'a> {
    let mut steps: PerAxis<isize> = strides(data);
    let along = steps[axis] as usize;
    steps[axis] = 0;
    let extent = data[axis];
    let bases = offsets(shape, &steps, 0);
    indices.iter().zip(bases).map(move |(&index, base)| Ok(base + resolve_one(1, index, extent)? * along))
}

impl Operator for GatherElements {
    fn key(&self) -> OpKey {
        OpKey::onnx("GatherElements")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        check_indices(inputs, 1)?;
        check_shapes(&data.shape, &indices.shape, self.axis)?;
        Ok(vec![Fact::tensor(data.dtype, indices.shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let axis = axis_attr(self.axis, data.shape().rank())?;
        let places = positions(data.shape(), indices.shape(), &indices.to_i64()?, axis)
            .collect::<Result<Vec<usize>, OpError>>()?;
        Ok(vec![take(data, indices.shape().clone(), places)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn elements_are_picked_along_the_axis() {
        let data = Tensor::from_vec([3, 2], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let indices = Tensor::from_vec([2, 2], vec![0i64, -1, 2, 0]).unwrap();
        let out = run(&*parse_at(11, "GatherElements", &[]), &[data.clone(), indices]).remove(0);
        assert_eq!(out.to_i64().unwrap(), [1, 6, 5, 2]);
        let op = parse_at(13, "GatherElements", &[("axis", Attr::Int(-1))]);
        let indices = Tensor::from_vec([2, 3], vec![1i32, 0, 1, 0, 0, -2]).unwrap();
        let out = run(&*op, &[data, indices]).remove(0);
        assert_eq!(out, Tensor::from_vec([2, 3], vec![2i64, 1, 2, 3, 3, 3]).unwrap());
    }

    #[test]
    fn unfit_indices_are_errors() {
        let data = || Some(Tensor::zeros(DType::F32, [2, 2]).unwrap());
        let op = GatherElements { axis: 0 };
        assert!(try_run(&op, &[data(), Some(Tensor::zeros(DType::I64, [2, 3]).unwrap())]).is_err());
        assert!(try_run(&op, &[data(), Some(Tensor::zeros(DType::I64, [2]).unwrap())]).is_err());
        assert!(try_run(&op, &[data(), Some(Tensor::from_vec([1, 1], vec![2i64]).unwrap())]).is_err());
        assert!(try_run(&op, &[Some(Tensor::scalar(1f32)), Some(Tensor::scalar(0i64))]).is_err());
    }
}
