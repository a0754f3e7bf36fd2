//! `ScatterND` (<https://onnx.ai/onnx/operators/onnx__ScatterND.html>). Opset 16 added the reductions `add` and `mul`, opset
//! 18 `max` and `min`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Shape, Value};

use crate::OpEntry;
use crate::gather_nd::positions;
use crate::index::check_indices;
use crate::scatter_elements::ScatterReduction;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("ScatterND", 3, ScatterND::parse)];

/// The data with updates at index tuples. Inputs: data of any type; indices `[*, K]` int64, each tuple naming an element or
/// slice of the data (negative indices count from the end); updates of the data's type, `[*]` and the slices' shape.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterND {
    /// What becomes of the elements that stood in an update's place.
    pub reduction: ScatterReduction,
}

impl ScatterND {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(ScatterND { reduction: ScatterReduction::parse(def)? }))
    }
}

impl Operator for ScatterND {
    fn key(&self) -> OpKey {
        OpKey::onnx("ScatterND")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, indices, updates) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        check_indices(inputs, 1)?;
        self.reduction.check(data.dtype, updates.dtype)?;
        if let (Some(dims), Some(index_dims)) = (data.shape.dims(), indices.shape.dims()) {
            let Some((depth, outer)) = index_dims.split_last() else {
                return Err(OpError::shape(1, "[*, K]", &indices.shape));
            };
            if let Some(depth) = depth.known() {
                let slice = dims.get(depth..).ok_or_else(|| {
                    OpError::shape(1, format!("at most {} indices in a tuple", dims.len()), &indices.shape)
                })?;
                let expected: ShapeFact = outer.iter().chain(slice).cloned().collect();
                if expected.merge(&updates.shape).is_none() {
                    return Err(OpError::shape(2, expected.to_string(), &updates.shape));
                }
            }
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, indices, updates) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        if updates.is_empty() {
            return Ok(vec![data.clone().into()]);
        }
        let depth = indices.shape().last().copied().unwrap_or(0);
        let run = Shape::from(&data.shape()[depth..]).elements();
        let places = positions(data.shape(), indices.shape(), &indices.to_i64()?, 0)?;
        Ok(vec![self.reduction.scatter(data, updates, run, places.into_iter().map(Ok))?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn tuples_name_elements_or_slices() {
        let data = Tensor::from_vec([2, 2], vec![1i16, 2, 3, 4]).unwrap();
        let indices = Tensor::from_vec([2, 2], vec![0i64, 1, -1, 0]).unwrap();
        let op = parse_at(11, "ScatterND", &[]);
        let out = run(&*op, &[data.clone(), indices, Tensor::vector(vec![8i16, 9])]).remove(0);
        assert_eq!(out.to_i64().unwrap(), [1, 8, 9, 4]);
        let op = parse_at(16, "ScatterND", &[("reduction", Attr::String(b"add".to_vec()))]);
        let indices = Tensor::from_vec([2, 1], vec![1i64, 1]).unwrap();
        let updates = Tensor::from_vec([2, 2], vec![10i16, 20, 100, 200]).unwrap();
        assert_eq!(run(&*op, &[data.clone(), indices, updates])[0].to_i64().unwrap(), [1, 2, 113, 224]);
        let whole = [data.clone(), Tensor::zeros(DType::I64, [0]).unwrap(), data.clone()];
        assert_eq!(run(&*op, &whole)[0].to_i64().unwrap(), [2, 4, 6, 8]);
        let none = [DType::I64, DType::I16].map(|dtype| Tensor::zeros(dtype, [0, 2]).unwrap());
        let [indices, _] = none;
        assert_eq!(run(&*op, &[data.clone(), indices, Tensor::zeros(DType::I16, [0]).unwrap()])[0], data);
    }

    #[test]
    fn unfit_inputs_are_errors() {
        let op = ScatterND { reduction: ScatterReduction::None };
        let try_with = |indices: &[usize], updates: &[usize]| {
            let data = Tensor::zeros(DType::F32, [2, 3]).unwrap();
            let indices = Tensor::zeros(DType::I64, indices).unwrap();
            try_run(&op, &[Some(data), Some(indices), Some(Tensor::zeros(DType::F32, updates).unwrap())])
        };
        assert!(try_with(&[4, 1], &[4, 3]).is_ok());
        assert!(try_with(&[4, 1], &[4, 2]).is_err());
        assert!(try_with(&[4, 3], &[4]).is_err());
        assert!(try_with(&[], &[2, 3]).is_err());
        let inputs = [
            Tensor::vector(vec![1f32]),
            Tensor::from_vec([1, 1], vec![1i64]).unwrap(),
            Tensor::vector(vec![1f32]),
        ];
        assert!(try_run(&op, &inputs.map(Some)).is_err());
    }
}
