//! `Identity` (<https://onnx.ai/onnx/operators/onnx__Identity.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator};
use inferrum_tensor::Value;

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Identity", 1, |_| Ok(Arc::new(Identity)))];

/// The input itself, whatever kind of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity;

impl Operator for Identity {
    fn key(&self) -> OpKey {
        OpKey::onnx("Identity")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![inputs.require(0)?.clone()])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![inputs.require(0)?.clone()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_tensor::Tensor;

    #[test]
    fn containers_pass_too() {
        let sequence = Value::Sequence(vec![Tensor::scalar(3i64).into()]);
        let outputs = Identity.reference(Inputs(&[Some(&sequence)])).unwrap();
        assert!(matches!(&outputs[..], [Value::Sequence(items)] if items.len() == 1));
        let fact = Fact::of(&sequence);
        assert_eq!(Identity.infer(Facts(&[Some(&fact)])).unwrap()[0], fact);
        assert!(matches!(Identity.infer(Facts(&[])), Err(OpError::MissingInput { index: 0 })));
    }
}
