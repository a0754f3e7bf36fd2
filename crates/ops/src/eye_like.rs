//! `EyeLike` (<https://onnx.ai/onnx/operators/onnx__EyeLike.html>). Opset 22 only added bfloat16.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::index::take_or;
use crate::types::NUMBERS_AND_TRUTH;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("EyeLike", 1, EyeLike::parse)];

/// A matrix of ones on one diagonal and zeros elsewhere. Input: `[M, N]`, of which only the shape matters.
#[derive(Debug, Clone, PartialEq)]
pub struct EyeLike {
    /// The output's type; the input's when left out.
    pub dtype: Option<DType>,
    /// Which diagonal: 0 is the main one, positive ones lie above it.
    pub k: i64,
}

impl EyeLike {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let dtype = match def.int("dtype")? {
            None => None,
            Some(code) => {
                let dtype = i32::try_from(code).ok().and_then(DType::from_onnx_code);
                let real = dtype.filter(|&dtype| NUMBERS_AND_TRUTH.hold(dtype));
                Some(real.ok_or_else(|| OpError::attribute("dtype", "the number of a real type", code))?)
            }
        };
        Ok(Arc::new(EyeLike { dtype, k: def.int_or("k", 0)? }))
    }
}

impl Operator for EyeLike {
    fn key(&self) -> OpKey {
        OpKey::onnx("EyeLike")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let input = inputs.tensor(0)?;
        let dtype = self.dtype.unwrap_or(input.dtype);
        NUMBERS_AND_TRUTH.check(0, dtype)?;
        let shape = input.shape.merge(&ShapeFact::of_rank(2));
        Ok(vec![Fact::tensor(dtype, shape.ok_or_else(|| OpError::shape(0, "[M, N]", &input.shape))?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let input = inputs.tensor(0)?;
        let &[_, columns] = input.shape().dims() else {
            return Err(OpError::shape(0, "[M, N]", input.shape()));
        };
        let one = Tensor::from_f64(self.dtype.unwrap_or(input.dtype()), [1], &[1.0])?;
        let on_diagonal = (0..input.len()).map(|i| {
            let (row, column) = (i / columns, i % columns);
            (column as i128 - row as i128 == i128::from(self.k)).then_some(0)
        });
        Ok(vec![take_or(&one, input.shape().clone(), on_diagonal, None)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn ones_stand_on_the_diagonal() {
        let attrs = [("k", Attr::Int(1)), ("dtype", Attr::Int(DType::I8.onnx_code().into()))];
        let input = Tensor::zeros(DType::F32, [2, 3]).unwrap();
        let out = run(&*parse_at(9, "EyeLike", &attrs), std::slice::from_ref(&input)).remove(0);
        assert_eq!(out, Tensor::from_vec([2, 3], vec![0i8, 1, 0, 0, 0, 1]).unwrap());
        let out = run(&EyeLike { dtype: None, k: -1 }, std::slice::from_ref(&input)).remove(0);
        assert_eq!(out.as_slice::<f32>().unwrap(), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let out = run(&EyeLike { dtype: Some(DType::Bool), k: i64::MIN }, &[input]).remove(0);
        assert_eq!(out.as_slice::<bool>().unwrap(), [false; 6]);
        assert_eq!(
            run(&EyeLike { dtype: None, k: 0 }, &[Tensor::zeros(DType::F32, [3, 0]).unwrap()])[0].len(),
            0
        );
    }

    #[test]
    fn other_ranks_and_types_are_errors() {
        let op = EyeLike { dtype: None, k: 0 };
        assert!(try_run(&op, &[Some(Tensor::zeros(DType::F32, [2]).unwrap())]).is_err());
        assert!(try_run(&op, &[Some(Tensor::zeros(DType::String, [2, 2]).unwrap())]).is_err());
    }
}
