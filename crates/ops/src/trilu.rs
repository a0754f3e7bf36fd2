//! `Trilu` (<https://onnx.ai/onnx/operators/onnx__Trilu.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::index::{check_indices, take_or};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Trilu", 2, Trilu::parse)];

/// The upper or lower triangle of matrices, zero elsewhere. Inputs: `[*, M, N]` of any type; optionally `k`, one int64: the
/// diagonal that bounds the triangle and belongs to it (0 is the main one, positive ones lie above it).
#[derive(Debug, Clone, PartialEq)]
pub struct Trilu {
    /// Whether the elements on and above the diagonal are kept, or those on and below it.
    pub upper: bool,
}

impl Trilu {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Trilu { upper: def.flag("upper", true)? }))
    }
}

impl Operator for Trilu {
    fn key(&self) -> OpKey {
        OpKey::onnx("Trilu")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        check_indices(inputs, 1)?;
        if data.shape.rank().is_some_and(|rank| rank < 2) {
            return Err(OpError::shape(0, "[*, M, N]", &data.shape));
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let &[.., rows, columns] = data.shape().dims() else {
            return Err(OpError::shape(0, "[*, M, N]", data.shape()));
        };
        let k = match inputs.optional_ints(1)?.as_deref() {
            None => 0,
            Some(&[k]) => i128::from(k),
            Some(_) => return Err(OpError::shape(1, "scalar or [1]", inputs.tensor(1)?.shape())),
        };
        let kept = (0..data.len()).map(|i| {
            let diagonal = (i % columns) as i128 - (i / columns % rows) as i128;
            (if self.upper { diagonal >= k } else { diagonal <= k }).then_some(i)
        });
        Ok(vec![take_or(data, data.shape().clone(), kept, None)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn one_triangle_is_kept() {
        let data = Tensor::from_vec([2, 2, 2], vec![1i64, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let op = parse_at(14, "Trilu", &[]);
        assert_eq!(run(&*op, std::slice::from_ref(&data))[0].to_i64().unwrap(), [1, 2, 0, 4, 5, 6, 0, 8]);
        let lower = parse_at(14, "Trilu", &[("upper", Attr::Int(0))]);
        let k = |k: i64| Tensor::scalar(k);
        assert_eq!(run(&*lower, &[data.clone(), k(-1)])[0].to_i64().unwrap(), [0, 0, 3, 0, 0, 0, 7, 0]);
        assert_eq!(run(&*lower, &[data.clone(), k(i64::MAX)])[0], data);
        assert_eq!(run(&*op, &[data, k(i64::MAX)])[0].to_i64().unwrap(), [0; 8]);
        let empty = Tensor::zeros(DType::F32, [3, 0]).unwrap();
        assert_eq!(run(&*op, &[empty])[0].len(), 0);
    }

    #[test]
    fn vectors_are_errors() {
        let data = Some(Tensor::zeros(DType::F32, [3]).unwrap());
        assert!(try_run(&Trilu { upper: true }, &[data]).is_err());
    }
}
