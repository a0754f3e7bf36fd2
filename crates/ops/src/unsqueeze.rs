//! `Unsqueeze` (<https://onnx.ai/onnx/operators/onnx__Unsqueeze.html>). Before opset 13 the axes were an attribute.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::axes_input;
use crate::extents;
use crate::index::check_index_list;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("Unsqueeze", 2, Unsqueeze::parse).before(&[(13, 1)])];

/// The same elements with more axes of extent 1. Inputs: data of any type; axes `[A]` int64, which are axes of the output.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsqueeze;

impl Unsqueeze {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        def.lift_ints("axes", 1)?;
        Ok(Arc::new(Unsqueeze))
    }
}

impl Operator for Unsqueeze {
    fn key(&self) -> OpKey {
        OpKey::onnx("Unsqueeze")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let listed = inputs.shape(1)?;
        check_index_list(inputs, 1)?;
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype)]) };
        let Some(axes) = inputs.ints(1)? else {
            let rank = listed.dim(0).known().map(|count| dims.len().saturating_add(count));
            // A model cannot list more axes than a few; a larger number is not worth a shape.
            let shape = rank.filter(|&rank| rank <= 64).map_or(ShapeFact::unknown(), ShapeFact::of_rank);
            return Ok(vec![Fact::tensor(data.dtype, shape)]);
        };
        let rank = dims.len() + axes.len();
        let axes = axes_input(1, &axes, rank)?;
        let mut new = vec![false; rank];
        axes.into_iter().for_each(|axis| new[axis] = true);
        let mut old = dims.iter().cloned();
        let shape: ShapeFact = new
            .into_iter()
            .map(|new| if new { SymDim::Known(1) } else { old.next().unwrap_or(SymDim::Unknown) })
            .collect();
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
    use crate::testing::try_run;
    use inferrum_tensor::{DType, Tensor};

    fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>, OpError> {
        let data = Tensor::zeros(DType::F16, shape).unwrap();
        let outputs = try_run(&Unsqueeze, &[Some(data.clone()), Some(Tensor::vector(axes.to_vec()))])?;
        assert_eq!(outputs[0].bytes().as_ptr(), data.bytes().as_ptr(), "the bytes are shared");
        Ok(outputs[0].shape().dims().to_vec())
    }

    #[test]
    fn axes_are_those_of_the_output() {
        assert_eq!(unsqueezed(&[3, 4], &[0, -1]).unwrap(), [1, 3, 4, 1]);
        assert_eq!(unsqueezed(&[3, 4], &[4, 2, 0]).unwrap(), [1, 3, 1, 4, 1]);
        assert_eq!(unsqueezed(&[2], &[]).unwrap(), [2]);
        assert!(unsqueezed(&[3], &[2]).is_err());
        assert!(unsqueezed(&[3], &[0, 0]).is_err());
        assert!(unsqueezed(&[3], &[0, -3]).is_err());
    }

    #[test]
    fn the_rank_is_known_without_the_axes() {
        let (data, axes) = (Fact::tensor(DType::F32, [2]), Fact::tensor(DType::I64, [2]));
        let facts = Unsqueeze.infer(Facts(&[Some(&data), Some(&axes)])).unwrap();
        assert_eq!(facts[0].as_tensor().unwrap().shape.rank(), Some(3));
    }
}
