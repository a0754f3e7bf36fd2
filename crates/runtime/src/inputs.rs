//! What a run takes and gives.

use std::ops::Index;
use std::sync::Arc;

use inferrum_graph::Fact;
use inferrum_tensor::{Shape, Tensor, Value};

use crate::{DeviceTensor, Error};

/// An input of a run.
#[derive(Clone, Debug)]
pub enum Input {
    /// In the host's memory.
    Value(Value),
    /// In the memory of a device.
    Resident(DeviceTensor),
}

impl Input {
    pub(crate) fn fact(&self) -> Fact {
        match self {
            Input::Value(value) => Fact::of(value),
            Input::Resident(tensor) => Fact::tensor(tensor.dtype(), tensor.shape()),
        }
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self) -> Option<&Shape> {
        match self {
            Input::Value(value) => value.as_tensor().map(Tensor::shape),
            Input::Resident(tensor) => Some(tensor.shape()),
        }
    }

    /// What kind of value this is, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Input::Value(value) => value.describe(),
            Input::Resident(tensor) => format!("{}[{}]", tensor.dtype(), tensor.shape()),
        }
    }
}

impl From<Value> for Input {
    fn from(value: Value) -> Input {
        Input::Value(value)
    }
}

impl From<Tensor> for Input {
    fn from(tensor: Tensor) -> Input {
        Input::Value(tensor.into())
    }
}

impl From<DeviceTensor> for Input {
    fn from(tensor: DeviceTensor) -> Input {
        Input::Resident(tensor)
    }
}

impl From<&DeviceTensor> for Input {
    fn from(tensor: &DeviceTensor) -> Input {
        Input::Resident(tensor.clone())
    }
}

/// The inputs of a run: each under its name, or all in the model's order.
///
/// Made of one [`Tensor`], of arrays and vectors of tensors or values (in order), of arrays and vectors of pairs of name
/// and value, or step by step; step by step also of tensors that a device holds ([`DeviceTensor`]). Cloning shares the
/// elements.
///
/// ```
/// use inferrum::{Inputs, Tensor, Value};
///
/// # fn main() -> Result<(), inferrum::TensorError> {
/// let ids = Tensor::from_vec([1, 3], vec![5i64, 7, 2])?;
/// let mask = Tensor::from_vec([1, 3], vec![1i64; 3])?;
/// let by_name = Inputs::from([("ids", ids.clone()), ("mask", mask.clone())]);
/// let in_order = Inputs::from([ids.clone(), mask]);
/// let mixed = Inputs::new().then(ids).with("past", Value::Sequence(Vec::new()));
/// # drop((by_name, in_order, mixed));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Inputs(pub(crate) Vec<(Option<String>, Input)>);

impl Inputs {
    /// No inputs yet.
    pub fn new() -> Inputs {
        Inputs::default()
    }

    /// Adds an input under its name. Whether the model has such an input, and takes the value, is checked by the run.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Input>) -> Inputs {
        self.0.push((Some(name.into()), value.into()));
        self
    }

    /// Adds an input by position: it is for the model's input of the number of inputs added before.
    #[must_use]
    pub fn then(mut self, value: impl Into<Input>) -> Inputs {
        self.0.push((None, value.into()));
        self
    }
}

impl<N: Into<String>, V: Into<Input>, const LEN: usize> From<[(N, V); LEN]> for Inputs {
    fn from(named: [(N, V); LEN]) -> Inputs {
        named.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<Input>> From<Vec<(N, V)>> for Inputs {
    fn from(named: Vec<(N, V)>) -> Inputs {
        named.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<Input>> FromIterator<(N, V)> for Inputs {
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
        Inputs(ordered.into_iter().map(|value| (None, value.into())).collect())
    }
}

impl From<Vec<Input>> for Inputs {
    fn from(ordered: Vec<Input>) -> Inputs {
        Inputs(ordered.into_iter().map(|input| (None, input)).collect())
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
    /// [`Error::UnknownName`]: there is no such output, or it is a sequence, an optional or a map.
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

/// Names and values in the model's order.
impl IntoIterator for Outputs {
    type Item = (String, Value);
    type IntoIter = std::iter::Zip<std::vec::IntoIter<String>, std::vec::IntoIter<Value>>;

    fn into_iter(self) -> Self::IntoIter {
        let names: Vec<String> = self.names.iter().cloned().collect();
        names.into_iter().zip(self.values)
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
