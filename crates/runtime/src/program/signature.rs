//! What selects a stage: types, shapes, and the elements that shapes depend on.

use inferrum_graph::Fact;
use inferrum_tensor::{DType, Shape, Tensor, Value};

use super::held::Held;

/// Types and shapes (and some elements) of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Signature(Vec<Item>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Tensor { dtype: DType, shape: Shape, elements: Option<Vec<u8>> },
    Other(String),
}

impl Signature {
    /// The signature of a run's inputs.
    pub(super) fn of_inputs(inputs: &[Held]) -> Signature {
        let mut signature = Signature::default();
        for input in inputs {
            match (&input.host, &input.device) {
                (None, Some(tensor)) => signature.push_tensor(tensor.dtype(), tensor.shape()),
                (Some(value), _) => signature.push(value, false),
                (None, None) => {}
            }
        }
        signature
    }

    /// The signature of tensors of known shape.
    pub(crate) fn of_facts(facts: &[&Fact]) -> Signature {
        let item = |fact: &&Fact| match (fact.as_tensor(), fact.concrete_shape()) {
            (Some(tensor), Some(shape)) => Item::Tensor { dtype: tensor.dtype, shape, elements: None },
            _ => Item::Other(fact.to_string()),
        };
        Signature(facts.iter().map(item).collect())
    }

    /// Adds a tensor whose elements do not count.
    pub(crate) fn push_tensor(&mut self, dtype: DType, shape: &Shape) {
        self.0.push(Item::Tensor { dtype, shape: shape.clone(), elements: None });
    }

    /// Adds a value; `elements` says whether its elements count too.
    pub(crate) fn push(&mut self, value: &Value, elements: bool) {
        self.0.push(item(value, elements));
    }
}

fn item(value: &Value, elements: bool) -> Item {
    match value {
        Value::Tensor(tensor) => Item::Tensor {
            dtype: tensor.dtype(),
            shape: tensor.shape().clone(),
            elements: elements.then(|| elements_of(tensor)),
        },
        other => Item::Other(Fact::of(other).to_string()),
    }
}

fn elements_of(tensor: &Tensor) -> Vec<u8> {
    match tensor.as_strings() {
        Ok(strings) => strings.iter().flat_map(|text| text.bytes().chain([0])).collect(),
        Err(_) => tensor.bytes().to_vec(),
    }
}
