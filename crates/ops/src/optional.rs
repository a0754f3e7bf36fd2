//! `Optional`, `OptionalGetElement`, `OptionalHasElement`
//! (<https://onnx.ai/onnx/operators/onnx__Optional.html>). Since opset 18 the last two take tensors and sequences too,
//! and `OptionalHasElement` may be given nothing.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::body::without_value;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("Optional", 1, MakeOptional::parse),
    OpEntry::onnx("OptionalGetElement", 1, |_| Ok(Arc::new(OptionalGetElement))),
    OpEntry::onnx("OptionalHasElement", 1, |_| Ok(Arc::new(OptionalHasElement))),
];

/// `Optional`: its input, a tensor or sequence, as a value that may be absent; absent if there is no input.
#[derive(Debug, Clone, PartialEq)]
pub struct MakeOptional {
    /// What an absent value would be.
    pub of: Option<Fact>,
}

/// The value of an optional one, which must be there. A tensor or sequence is given as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionalGetElement;

/// Whether there is a value, a `bool` scalar: the input is left out or an absent optional one, or not.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionalHasElement;

impl MakeOptional {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(MakeOptional { of: def.type_("type")? }))
    }
}

impl Operator for MakeOptional {
    fn key(&self) -> OpKey {
        OpKey::onnx("Optional")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let inner = match (inputs.get(0), &self.of) {
            (Some(input @ (Fact::Optional(_) | Fact::Map { .. })), _) => {
                let got = input.to_string();
                return Err(OpError::Kind { index: 0, expected: "a tensor or sequence", got });
            }
            (Some(Fact::Unknown) | None, of) => of.clone().unwrap_or(Fact::Unknown),
            (Some(input), _) => without_value(input),
        };
        Ok(vec![Fact::Optional(Box::new(inner))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![Value::Optional(inputs.get(0).cloned().map(Box::new))])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Operator for OptionalGetElement {
    fn key(&self) -> OpKey {
        OpKey::onnx("OptionalGetElement")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![match inputs.require(0)? {
            Fact::Optional(inner) => (**inner).clone(),
            other => without_value(other),
        }])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        match inputs.require(0)? {
            Value::Optional(Some(inner)) => Ok(vec![(**inner).clone()]),
            Value::Optional(None) => Err(OpError::value(0, "the optional value is absent")),
            other => Ok(vec![other.clone()]),
        }
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Operator for OptionalHasElement {
    fn key(&self) -> OpKey {
        OpKey::onnx("OptionalHasElement")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![match inputs.get(0) {
            None => Fact::constant(Tensor::scalar(false)),
            Some(Fact::Tensor(_) | Fact::Sequence(_)) => Fact::constant(Tensor::scalar(true)),
            Some(_) => Fact::tensor(DType::Bool, []),
        }])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let absent = matches!(inputs.get(0), None | Some(Value::Optional(None)));
        Ok(vec![Tensor::scalar(!absent).into()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parse_at;
    use inferrum_graph::Attr;

    fn run(op: &dyn Operator, input: Option<&Value>) -> Result<Value, OpError> {
        let inputs = Inputs(std::slice::from_ref(&input));
        let fact = inputs.with_facts(|facts| op.infer(facts))?.remove(0);
        let output = op.reference(inputs)?.remove(0);
        assert!(fact.merge(&Fact::of(&output)).is_some(), "{fact} but {}", output.describe());
        Ok(output)
    }

    fn has(value: Option<&Value>) -> bool {
        run(&OptionalHasElement, value).unwrap().as_tensor().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn a_value_is_wrapped_found_and_unwrapped() {
        let make = parse_at(15, "Optional", &[("type", Attr::Type(Fact::of_dtype(DType::U8)))]);
        let value = Value::Tensor(Tensor::scalar(3u8));
        let wrapped = run(&*make, Some(&value)).unwrap();
        assert!(has(Some(&wrapped)) && has(Some(&value)) && has(Some(&Value::Sequence(Vec::new()))));
        let back = run(&OptionalGetElement, Some(&wrapped)).unwrap();
        assert_eq!(back.as_tensor(), value.as_tensor());
        assert_eq!(run(&OptionalGetElement, Some(&value)).unwrap().as_tensor(), value.as_tensor());
        assert!(run(&*make, Some(&wrapped)).is_err());
    }

    #[test]
    fn nothing_is_absent() {
        let make = MakeOptional { of: Some(Fact::of_dtype(DType::F32)) };
        assert_eq!(make.infer(Facts(&[])).unwrap(), [Fact::Optional(Box::new(Fact::of_dtype(DType::F32)))]);
        let absent = run(&make, None).unwrap();
        assert!(!has(Some(&absent)) && !has(None));
        assert!(run(&OptionalGetElement, Some(&absent)).is_err());
        assert!(run(&OptionalGetElement, None).is_err());
    }
}
