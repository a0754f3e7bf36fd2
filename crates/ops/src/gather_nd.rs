//! `GatherND` (<https://onnx.ai/onnx/operators/onnx__GatherND.html>). `batch_dims` came with opset 12.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Shape, Value};

use crate::OpEntry;
use crate::extents;
use crate::gather::resolve_one;
use crate::index::{check_indices, take_runs};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("GatherND", 2, GatherND::parse)];

/// Slices by index tuples. Inputs: data of any type; indices `[*batch, *, K]` int64, each a tuple that names an element or
/// slice of the data after its batch axes; negative ones count from the end. Output: `[*batch, *]` and the slices' shape.
#[derive(Debug, Clone, PartialEq)]
pub struct GatherND {
    /// How many leading axes data and indices share.
    pub batch_dims: usize,
}

impl GatherND {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let batch_dims = def.int_or("batch_dims", 0)?;
        let batch_dims = usize::try_from(batch_dims)
            .map_err(|_| OpError::attribute("batch_dims", "a number that is not negative", batch_dims))?;
        Ok(Arc::new(GatherND { batch_dims }))
    }
}

/// For each index tuple of `indices`, `[*, K]` in `shape`, the position of the element or slice that it names in data of
/// shape `data`, whose first `batch_dims` axes the tuples share.
///
/// # Errors
/// [`OpError::Value`] when an index is out of range.
pub(crate) fn positions(
    data: &Shape,
    shape: &Shape,
    indices: &[i64],
    batch_dims: usize,
) -> Result<Vec<usize>, OpError> {
    let Some((&depth, outer)) = shape.split_last() else { return Err(OpError::shape(1, "[*, K]", shape)) };
    let batches = Shape::from(&outer[..batch_dims]).elements();
    let tuples = Shape::from(outer).elements();
    let steps = data.strides();
    let in_batch = Shape::from(&data[batch_dims..]).elements();
    let mut positions = inferrum_tensor::zeroed::<usize>(tuples)?;
    for (i, position) in positions.iter_mut().enumerate() {
        *position = i / (tuples / batches) * in_batch;
        for place in 0..depth {
            let axis = batch_dims + place;
            *position += resolve_one(1, indices[i * depth + place], data[axis])? * steps[axis];
        }
    }
    Ok(positions)
}

impl Operator for GatherND {
    fn key(&self) -> OpKey {
        OpKey::onnx("GatherND")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        check_indices(inputs, 1)?;
        let (Some(dims), Some(index_dims)) = (data.shape.dims(), indices.shape.dims()) else {
            return Ok(vec![Fact::of_dtype(data.dtype)]);
        };
        let batch = self.batch_dims;
        let Some((depth, outer)) = index_dims.split_last().filter(|(_, outer)| outer.len() >= batch) else {
            return Err(OpError::shape(
                1,
                format!("{batch} batch axes, any others, and [K]"),
                &indices.shape,
            ));
        };
        if dims.len() < batch || (0..batch).any(|axis| dims[axis].merge(&outer[axis]).is_none()) {
            let expected = format!("the same {batch} batch axes as the data's {}", data.shape);
            return Err(OpError::shape(1, expected, &indices.shape));
        }
        let shape = match depth.known() {
            None => ShapeFact::unknown(),
            Some(depth) if depth <= dims.len() - batch => {
                outer.iter().chain(&dims[batch + depth..]).cloned().collect()
            }
            Some(_) => {
                let expected = format!("at most {} indices in a tuple", dims.len() - batch);
                return Err(OpError::shape(1, expected, &indices.shape));
            }
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let shape = extents::output_shape(self, inputs)?;
        if shape.elements() == 0 {
            return Ok(vec![take_runs(data, shape, 0, [])?.into()]);
        }
        let starts = positions(data.shape(), indices.shape(), &indices.to_i64()?, self.batch_dims)?;
        Ok(vec![take_runs(data, shape.clone(), shape.elements() / starts.len(), starts)?.into()])
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
        let data = Tensor::from_vec([2, 2, 2], (0i32..8).collect()).unwrap();
        let op = parse_at(11, "GatherND", &[]);
        let gathered = |shape: &[usize], indices: &[i64]| {
            let indices = Tensor::from_vec(shape, indices.to_vec()).unwrap();
            run(&*op, &[data.clone(), indices]).remove(0)
        };
        let vector = |x: &[i32]| Tensor::vector(x.to_vec());
        assert_eq!(gathered(&[2, 3], &[0, 0, 1, -1, 1, 0]), vector(&[1, 6]));
        assert_eq!(gathered(&[2], &[0, 1]), vector(&[2, 3]));
        assert_eq!(gathered(&[1, 1, 2], &[1, 0]), Tensor::from_vec([1, 1, 2], vec![4, 5]).unwrap());
        assert_eq!(gathered(&[0], &[]), data);
        assert_eq!(gathered(&[0, 3], &[]).shape().dims(), [0]);
    }

    #[test]
    fn batch_axes_are_shared() {
        let data = Tensor::from_vec([2, 2, 2], (0i32..8).collect()).unwrap();
        let op = parse_at(12, "GatherND", &[("batch_dims", Attr::Int(1))]);
        let indices = Tensor::from_vec([2, 1], vec![1i64, 0]).unwrap();
        let out = run(&*op, &[data.clone(), indices]).remove(0);
        assert_eq!(out, Tensor::from_vec([2, 2], vec![2, 3, 4, 5]).unwrap());
        let wrong = Tensor::zeros(DType::I64, [3, 1]).unwrap();
        assert!(try_run(&*op, &[Some(data), Some(wrong)]).is_err());
    }

    #[test]
    fn unfit_indices_are_errors() {
        let data = || Some(Tensor::zeros(DType::F32, [2, 3]).unwrap());
        let op = GatherND { batch_dims: 0 };
        for wrong in [vec![2i64], vec![0, 3], vec![0, 0, 0]] {
            assert!(try_run(&op, &[data(), Some(Tensor::vector(wrong))]).is_err());
        }
        assert!(try_run(&op, &[data(), Some(Tensor::scalar(0i64))]).is_err());
        assert!(try_run(&GatherND { batch_dims: 3 }, &[data(), Some(Tensor::vector(vec![0i64]))]).is_err());
    }
}
