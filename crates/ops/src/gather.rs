//! `Gather` (<https://onnx.ai/onnx/operators/onnx__Gather.html>). Opset 11 allowed negative indices.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::{axis_attr, index_below};
use crate::extents;
use crate::index::{check_indices, take_runs};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Gather", 2, Gather::parse)];

/// Slices of an axis by index. Inputs: data of any type; indices of any shape, int32 or int64, negative ones counting from
/// the end. Output: the data's shape with the axis replaced by the indices' shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

impl Gather {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Gather { axis: def.int_or("axis", 0)? }))
    }
}

/// `indices` (input `input`) as positions on an axis of `extent`.
///
/// # Errors
/// [`OpError::Value`] when one is out of range.
pub(crate) fn resolve(input: usize, indices: &[i64], extent: usize) -> Result<Vec<usize>, OpError> {
    indices.iter().map(|&index| resolve_one(input, index, extent)).collect()
}

/// One index as a position on an axis of `extent`.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn resolve_one(input: usize, index: i64, extent: usize) -> Result<usize, OpError> {
    index_below(index, extent).ok_or_else(|| {
        OpError::value(input, format!("index {index} is out of range for an axis of {extent}"))
    })
}

impl Operator for Gather {
    fn key(&self) -> OpKey {
        OpKey::onnx("Gather")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        check_indices(inputs, 1)?;
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype)]) };
        let axis = axis_attr(self.axis, dims.len())?;
        let shape = match indices.shape.dims() {
            None => ShapeFact::unknown(),
            Some(inner) => dims[..axis].iter().chain(inner).chain(&dims[axis + 1..]).cloned().collect(),
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let (outer, extent, inner) = data.shape().split_at_axis(axis_attr(self.axis, data.shape().rank())?);
        let places = resolve(1, &inputs.ints(1)?, extent)?;
        let places = &places;
        let starts =
            (0..outer).flat_map(|row| places.iter().map(move |place| (row * extent + place) * inner));
        Ok(vec![take_runs(data, shape, inner, starts)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::{Attr, SymDim};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn slices_are_picked_by_index() {
        let data = Tensor::from_vec([2, 3], vec![1u16, 2, 3, 4, 5, 6]).unwrap();
        let indices = Tensor::from_vec([1, 2], vec![-1i32, 0]).unwrap();
        let out = run(&*parse_at(13, "Gather", &[]), &[data.clone(), indices.clone()]).remove(0);
        assert_eq!(out, Tensor::from_vec([1, 2, 3], vec![4u16, 5, 6, 1, 2, 3]).unwrap());
        let op = parse_at(13, "Gather", &[("axis", Attr::Int(-1))]);
        let out = run(&*op, &[data.clone(), indices]).remove(0);
        assert_eq!(out, Tensor::from_vec([2, 1, 2], vec![3u16, 1, 6, 4]).unwrap());
        let out = run(&*op, &[data.clone(), Tensor::scalar(1i64)]).remove(0);
        assert_eq!(out, Tensor::from_vec([2], vec![2u16, 5]).unwrap());
        let none = Tensor::zeros(DType::I64, [0]).unwrap();
        assert_eq!(run(&*op, &[data, none])[0].shape().dims(), [2, 0]);
    }

    #[test]
    fn strings_and_empty_data_pass() {
        let text = Tensor::from_strings([2], vec!["a".into(), "b".into()]).unwrap();
        let out = run(&Gather { axis: 0 }, &[text, Tensor::vector(vec![1i64, 1])]).remove(0);
        assert_eq!(out.as_strings().unwrap(), ["b", "b"]);
        let empty = Tensor::zeros(DType::F32, [1 << 60, 0]).unwrap();
        let none = Tensor::zeros(DType::I64, [0]).unwrap();
        assert_eq!(run(&Gather { axis: 1 }, &[empty, none])[0].len(), 0);
    }

    #[test]
    fn indices_out_of_range_are_errors() {
        let data = Tensor::vector(vec![1u8, 2]);
        for index in [2i64, -3, i64::MIN] {
            assert!(
                try_run(&Gather { axis: 0 }, &[Some(data.clone()), Some(Tensor::scalar(index))]).is_err()
            );
        }
        assert!(try_run(&Gather { axis: 1 }, &[Some(data.clone()), Some(Tensor::scalar(0i64))]).is_err());
        assert!(try_run(&Gather { axis: 0 }, &[Some(data), Some(Tensor::scalar(0f32))]).is_err());
    }

    #[test]
    fn symbols_are_kept() {
        let (n, m) = (SymDim::Symbol("n".into()), SymDim::Symbol("m".into()));
        let data = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(3)]);
        let indices = Fact::tensor(DType::I64, vec![m.clone()]);
        let facts = Gather { axis: 1 }.infer(Facts(&[Some(&data), Some(&indices)])).unwrap();
        assert_eq!(facts[0].as_tensor().unwrap().shape, vec![n, m].into());
    }
}
