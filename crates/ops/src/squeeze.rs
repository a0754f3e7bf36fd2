//! `Squeeze` (<https://onnx.ai/onnx/operators/onnx__Squeeze.html>). Before opset 13 the axes were an attribute.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Tensor, Value};

use crate::OpEntry;
use crate::axes::axes_input;
use crate::extents;
use crate::index::check_index_list;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Squeeze", 2, Squeeze::parse).before(&[(13, 1)])];

/// The same elements without some axes of extent 1. Inputs: data of any type; optionally the axes, `[A]` int64. Without
/// that input every axis of extent 1 goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Squeeze;

impl Squeeze {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        // An empty attribute was the same as none.
        if let Some(axes) = def.ints("axes")?.filter(|axes| !axes.is_empty()) {
            def.lift(1, Tensor::vector(axes));
        }
        Ok(Arc::new(Squeeze))
    }
}

impl Operator for Squeeze {
    fn key(&self) -> OpKey {
        OpKey::onnx("Squeeze")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        check_index_list(inputs, 1)?;
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype)]) };
        let shape = match (inputs.ints(1)?, inputs.has(1)) {
            (Some(axes), _) => {
                let axes = axes_input(1, &axes, dims.len())?;
                if let Some(&axis) = axes.iter().find(|&&axis| dims[axis].known().is_some_and(|n| n != 1)) {
                    return Err(OpError::shape(0, format!("extent 1 at axis {axis}"), inputs.describe(0)));
                }
                let kept = dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
                kept.map(|(_, dim)| dim.clone()).collect()
            }
            (None, true) => {
                let fewer = inputs.shape(1)?.dim(0).known().and_then(|count| dims.len().checked_sub(count));
                fewer.map_or(ShapeFact::unknown(), ShapeFact::of_rank)
            }
            (None, false) if data.shape.concrete().is_some() => {
                dims.iter().filter(|dim| **dim != SymDim::Known(1)).cloned().collect()
            }
            (None, false) => ShapeFact::unknown(),
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let shape = extents::output_shape(self, inputs)?;
        Ok(vec![inputs.tensor(0)?.reshape(shape)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};
    use inferrum_tensor::DType;

    fn squeezed(shape: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>, OpError> {
        let data = Tensor::zeros(DType::F16, shape).unwrap();
        let axes = axes.map(|axes| Tensor::vector(axes.to_vec()));
        try_run(&Squeeze, &[Some(data), axes]).map(|outputs| outputs[0].shape().dims().to_vec())
    }

    #[test]
    fn listed_axes_go_or_all_of_extent_1() {
        assert_eq!(squeezed(&[1, 3, 1], Some(&[-1])).unwrap(), [1, 3]);
        assert_eq!(squeezed(&[1, 3, 1], Some(&[2, 0])).unwrap(), [3]);
        assert_eq!(squeezed(&[1, 3, 1, 0], None).unwrap(), [3, 0]);
        assert_eq!(squeezed(&[1, 3], Some(&[])).unwrap(), [1, 3]);
        assert!(squeezed(&[1, 3], Some(&[1])).is_err());
        assert!(squeezed(&[1, 3], Some(&[0, -2])).is_err());
        assert!(squeezed(&[1, 3], Some(&[2])).is_err());
    }

    #[test]
    fn the_bytes_are_shared() {
        let data = Tensor::zeros(DType::F32, [1, 4]).unwrap();
        let out = run(&Squeeze, std::slice::from_ref(&data)).remove(0);
        assert_eq!(out.bytes().as_ptr(), data.bytes().as_ptr());
    }
}
