//! What a run takes and gives.

use std::ops::Index;
use std::sync::Arc;

use inferrum_tensor::{Tensor, Value};

use crate::Error;

/// The inputs of a run: each under its name, or all in the model's order.
#[derive(Clone, Debug, Default)]
pub struct Inputs(pub(crate) Vec<(Option<String>, Value)>);

impl Inputs {
    /// No inputs yet.
    pub fn new() -> Inputs {
        Inputs::default()
    }

    /// Adds an input under its name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Inputs {
        self.0.push((Some(name.into()), value.into()));
        self
    }

    /// Adds an input by position.
    #[must_use]
    pub fn then(mut self, value: impl Into<Value>) -> Inputs {
        self.0.push((None, value.into()));
        self
    }
}

impl<N: Into<String>, V: Into<Value>, const LEN: usize> From<[(N, V); LEN]> for Inputs {
    fn from(named: [(N, V); LEN]) -> Inputs {
        named.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<Value>> From<Vec<(N, V)>> for Inputs {
    fn from(named: Vec<(N, V)>) -> Inputs {
        named.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Inputs {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(named: I) -> Inputs {
        Inputs(named.into_iter().map(|(name, value)| (Some(name.into()), value.into())).collect())
    }
}

impl<const LEN: usize> From<[Tensor; LEN]> for Inputs {
    fn from(ordered: [Tensor; LEN]) -> Inputs {
        Inputs(ordered.into_iter().map(|tensor| (None, tensor.into())).collect())
    }
}

impl From<Vec<Tensor>> for Inputs {
    fn from(ordered: Vec<Tensor>) -> Inputs {
        Inputs(ordered.into_iter().map(|tensor| (None, tensor.into())).collect())
    }
}

impl From<Vec<Value>> for Inputs {
    fn from(ordered: Vec<Value>) -> Inputs {
        Inputs(ordered.into_iter().map(|value| (None, value)).collect())
    }
}

impl From<Tensor> for Inputs {
    fn from(only: Tensor) -> Inputs {
        Inputs::from([only])
    }
}

/// The outputs of a run, by name or in the model's order.
///
/// `outputs["name"]` and `outputs[0]` give tensors and panic where there is none; [`Outputs::get`] does not.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    pub(crate) names: Arc<[String]>,
    pub(crate) values: Vec<Value>,
}

impl Outputs {
    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no output.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// An output by name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let index = self.names.iter().position(|known| known == name)?;
        self.values.get(index)
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// There is no such output, or it is a sequence or a map.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        self.get(name).and_then(Value::as_tensor).ok_or_else(|| Error::UnknownName {
            kind: "tensor output",
            name: name.to_owned(),
            known: self.names.join(", "),
        })
    }

    /// Names and values in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// The values in the model's order.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }
}

impl Index<&str> for Outputs {
    type Output = Tensor;
    fn index(&self, name: &str) -> &Tensor {
        match self.tensor(name) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Index<usize> for Outputs {
    type Output = Tensor;
    fn index(&self, index: usize) -> &Tensor {
        match self.values.get(index).and_then(Value::as_tensor) {
            Some(tensor) => tensor,
            None => panic!("output {index} of {} is no tensor", self.values.len()),
        }
    }
}
