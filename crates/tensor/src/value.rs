//! What operators take and give.

use crate::{DType, Tensor};

/// A run-time value: a tensor or one of ONNX's containers.
#[derive(Clone, Debug)]
pub enum Value {
    /// A dense tensor.
    Tensor(Tensor),
    /// A list of values of one type.
    Sequence(Vec<Value>),
    /// A value that may be absent.
    Optional(Option<Box<Value>>),
    /// A dictionary; `keys` and `values` have the same length.
    Map {
        /// The keys, in the order in which they were produced.
        keys: MapKeys,
        /// A tensor of shape `[keys]`.
        values: Tensor,
    },
}

/// The keys of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapKeys {
    /// Integer keys.
    Int(Vec<i64>),
    /// Text keys.
    String(Vec<String>),
}

impl Value {
    /// The tensor, if this is one.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The tensor, if this is one.
    pub fn into_tensor(self) -> Option<Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// What kind of value this is, for messages: `float32[2x3]`, `sequence of 4`, ...
    pub fn describe(&self) -> String {
        match self {
            Value::Tensor(tensor) => format!("{}[{}]", tensor.dtype(), tensor.shape()),
            Value::Sequence(items) => format!("sequence of {}", items.len()),
            Value::Optional(None) => "empty optional".into(),
            Value::Optional(Some(inner)) => format!("optional {}", inner.describe()),
            Value::Map { values, .. } => format!("map of {} to {}", values.shape(), values.dtype()),
        }
    }
}

impl MapKeys {
    /// Number of keys.
    pub fn len(&self) -> usize {
        match self {
            MapKeys::Int(keys) => keys.len(),
            MapKeys::String(keys) => keys.len(),
        }
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys' element type: `int64` or `string`.
    pub fn dtype(&self) -> DType {
        match self {
            MapKeys::Int(_) => DType::I64,
            MapKeys::String(_) => DType::String,
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Value {
        Value::Tensor(tensor)
    }
}
