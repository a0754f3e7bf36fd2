//! `Expand` (<https://onnx.ai/onnx/operators/onnx__Expand.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::extents;
use crate::index::{PerAxis, check_index_list, offsets, strides, take};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Expand", 2, Expand::parse)];

/// A tensor broadcast with a shape, both ways: an extent of 1 in either takes that of the other. Inputs: data of any type;
/// shape `[R]` int64.
#[derive(Debug, Clone, PartialEq)]
pub struct Expand;

impl Expand {
    fn parse(_def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Expand))
    }
}

impl Operator for Expand {
    fn key(&self) -> OpKey {
        OpKey::onnx("Expand")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let listed = inputs.shape(1)?;
        check_index_list(inputs, 1)?;
        let shape = match inputs.ints(1)? {
            Some(target) => {
                let target = ShapeFact::from(extents::extents_input(1, &target)?);
                data.shape.broadcast(&target).ok_or_else(|| {
                    OpError::value(1, format!("data of shape {} does not broadcast to {target}", data.shape))
                })?
            }
            // A shape's length is a rank; only those that occur are worth a fact.
            None => match listed.dim(0).known().zip(data.shape.rank()) {
                Some((count, rank)) if count <= 64 => ShapeFact::of_rank(count.max(rank)),
                _ => ShapeFact::unknown(),
            },
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let new_axes = shape.rank() - data.shape().rank();
        let own = strides(data.shape());
        let steps: PerAxis<isize> = (0..shape.rank())
            .map(|axis| match axis.checked_sub(new_axes) {
                Some(axis) if data.shape()[axis] != 1 => own[axis],
                _ => 0,
            })
            .collect();
        Ok(vec![take(data, shape.clone(), offsets(&shape, &steps, 0))?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::try_run;
    use inferrum_tensor::{DType, Tensor};

    fn expanded(data: Tensor, shape: &[i64]) -> Result<Tensor, OpError> {
        try_run(&Expand, &[Some(data), Some(Tensor::vector(shape.to_vec()))])
            .map(|mut outputs| outputs.remove(0))
    }

    #[test]
    fn ones_are_repeated_on_either_side() {
        let column = Tensor::from_vec([2, 1], vec![1i16, 2]).unwrap();
        let wide = Tensor::from_vec([2, 2, 3], [1i16, 1, 1, 2, 2, 2].repeat(2)).unwrap();
        assert_eq!(expanded(column.clone(), &[2, 1, 3]).unwrap(), wide);
        assert_eq!(expanded(column.clone(), &[1]).unwrap(), column);
        assert_eq!(expanded(column.clone(), &[2, 0]).unwrap().shape().dims(), [2, 0]);
        assert_eq!(expanded(Tensor::scalar(3u8), &[]).unwrap(), Tensor::scalar(3u8));
        assert!(expanded(column.clone(), &[3, 1]).is_err());
        assert!(expanded(column.clone(), &[-1, 1]).is_err());
        assert!(expanded(column, &[1 << 40, 1 << 40, 1, 1]).is_err());
    }

    #[test]
    fn the_rank_is_known_without_the_shape() {
        let (data, shape) = (Fact::tensor(DType::F32, [2]), Fact::tensor(DType::I64, [4]));
        let facts = Expand.infer(Facts(&[Some(&data), Some(&shape)])).unwrap();
        assert_eq!(facts[0].as_tensor().unwrap().shape.rank(), Some(4));
    }
}
