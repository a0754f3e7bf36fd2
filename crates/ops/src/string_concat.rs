//! `StringConcat` (<https://onnx.ai/onnx/operators/onnx__StringConcat.html>), one version only, opset 20.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, TensorError, Value};

use crate::regex_full_match::check_strings;
use crate::{Broadcast, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("StringConcat", 2, |_| Ok(Arc::new(StringConcat)))];

/// Each string of one tensor followed by one of another. Inputs: two tensors of strings, which broadcast; output: of
/// their common shape.
#[derive(Debug, Clone, PartialEq)]
pub struct StringConcat;

impl Operator for StringConcat {
    fn key(&self) -> OpKey {
        OpKey::onnx("StringConcat")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        check_strings(inputs, 0)?;
        check_strings(inputs, 1)?;
        let (x, y) = (inputs.shape(0)?, inputs.shape(1)?);
        let shape =
            x.broadcast(y).ok_or_else(|| OpError::shape(1, format!("that broadcasts with {x}"), y))?;
        Ok(vec![Fact::tensor(DType::String, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, y) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let broadcast = Broadcast::new(&[x.shape(), y.shape()])?;
        let count = broadcast.shape().elements();
        let mut strings = Vec::new();
        strings
            .try_reserve_exact(count)
            .map_err(|_| TensorError::OutOfMemory { bytes: count.saturating_mul(size_of::<String>()) })?;
        let (x, y) = (x.as_strings()?, y.as_strings()?);
        for (i, j) in broadcast.indices(0).zip(broadcast.indices(1)) {
            strings.push([x[i].as_str(), y[j].as_str()].concat());
        }
        Ok(vec![Tensor::from_strings(broadcast.shape().clone(), strings)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::try_run;

    fn strings(shape: &[usize], texts: &[&str]) -> Option<Tensor> {
        Some(Tensor::from_strings(shape, texts.iter().map(|s| s.to_string()).collect()).unwrap())
    }

    #[test]
    fn shapes_broadcast() {
        let y =
            try_run(&StringConcat, &[strings(&[2, 1], &["a", "b"]), strings(&[3], &["x", "", "é"])]).unwrap();
        assert_eq!(y[0].as_strings().unwrap(), ["ax", "a", "aé", "bx", "b", "bé"]);
        let y = try_run(&StringConcat, &[strings(&[0], &[]), strings(&[], &["x"])]).unwrap();
        assert_eq!(y[0].shape().dims(), [0]);
        assert!(try_run(&StringConcat, &[strings(&[2], &["", ""]), strings(&[3], &["", "", ""])]).is_err());
        assert!(try_run(&StringConcat, &[strings(&[], &["a"]), Some(Tensor::scalar(1f32))]).is_err());
    }
}
