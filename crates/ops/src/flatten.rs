//! `Flatten` (<https://onnx.ai/onnx/operators/onnx__Flatten.html>). Negative axes came with opset 11.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::index_below;
use crate::extents;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Flatten", 1, Flatten::parse)];

/// The same elements as a matrix: axes before `axis` are rows, the others columns. Input: any type, any shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Flatten {
    /// The first axis of the columns, up to the rank itself; negative counts from the end.
    pub axis: i64,
}

impl Flatten {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Flatten { axis: def.int_or("axis", 1)? }))
    }
}

impl Operator for Flatten {
    fn key(&self) -> OpKey {
        OpKey::onnx("Flatten")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let dims = match data.shape.dims() {
            None => vec![SymDim::Unknown; 2],
            Some(dims) => {
                let rank = dims.len();
                let whole = usize::try_from(self.axis).is_ok_and(|axis| axis == rank);
                let axis = if whole { Some(rank) } else { index_below(self.axis, rank) };
                let (rows, columns) = dims.split_at(axis.ok_or_else(|| {
                    OpError::attribute("axis", format!("a number from -{rank} to {rank}"), self.axis)
                })?);
                vec![extents::product(rows), extents::product(columns)]
            }
        };
        Ok(vec![Fact::tensor(data.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let shape = extents::output_shape(self, inputs)?;
        Ok(vec![inputs.tensor(0)?.reshape(shape)?.into()])
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

    fn flattened(shape: &[usize], axis: i64) -> Result<Vec<usize>, OpError> {
        let data = Tensor::zeros(DType::U8, shape).unwrap();
        let outputs = try_run(&Flatten { axis }, &[Some(data.clone())])?;
        assert_eq!(outputs[0].bytes().as_ptr(), data.bytes().as_ptr(), "the bytes are shared");
        Ok(outputs[0].shape().dims().to_vec())
    }

    #[test]
    fn axes_before_and_after_are_joined() {
        assert_eq!(flattened(&[2, 3, 4], 1).unwrap(), [2, 12]);
        assert_eq!(flattened(&[2, 3, 4], 0).unwrap(), [1, 24]);
        assert_eq!(flattened(&[2, 3, 4], 3).unwrap(), [24, 1]);
        assert_eq!(flattened(&[2, 3, 4], -1).unwrap(), [6, 4]);
        assert_eq!(flattened(&[0, 3], 1).unwrap(), [0, 3]);
        assert_eq!(flattened(&[], 0).unwrap(), [1, 1]);
        assert!(flattened(&[2, 3], 3).is_err());
        assert!(flattened(&[2, 3], -3).is_err());
        assert!(flattened(&[], 1).is_err());
    }

    #[test]
    fn a_single_symbol_is_kept() {
        let n = SymDim::Symbol("n".into());
        let data = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(3), SymDim::Known(4)]);
        let facts = Flatten { axis: 1 }.infer(Facts(&[Some(&data)])).unwrap();
        assert_eq!(facts[0].as_tensor().unwrap().shape, vec![n, SymDim::Known(12)].into());
    }
}
