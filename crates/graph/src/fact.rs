//! What is known of a value before a run.

use std::fmt;

use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::{OpError, ShapeFact};

/// What is known of a value.
#[allow(clippy::large_enum_variant, reason = "nearly every fact is a tensor's")]
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A tensor.
    Tensor(TensorFact),
    /// A list whose items are each like the inner fact.
    Sequence(Box<Fact>),
    /// Present or absent; if present, like the inner fact.
    Optional(Box<Fact>),
    /// A dictionary.
    Map {
        /// The keys' type: `I64` or `String`.
        key: DType,
        /// The values' type.
        value: DType,
    },
    /// Nothing is known.
    Unknown,
}

/// What is known of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorFact {
    /// The element type.
    pub dtype: DType,
    /// The shape, as far as it is known.
    pub shape: ShapeFact,
    /// The elements, if they are known.
    pub value: Option<Tensor>,
}

impl Fact {
    /// A tensor of which type and shape are known.
    pub fn tensor(dtype: DType, shape: impl Into<ShapeFact>) -> Fact {
        Fact::Tensor(TensorFact { dtype, shape: shape.into(), value: None })
    }

    /// A tensor of which only the type is known.
    pub fn of_dtype(dtype: DType) -> Fact {
        Fact::tensor(dtype, ShapeFact::unknown())
    }

    /// A tensor of which everything is known.
    pub fn constant(tensor: Tensor) -> Fact {
        Fact::Tensor(TensorFact { dtype: tensor.dtype(), shape: tensor.shape().into(), value: Some(tensor) })
    }

    /// Type and shape of a run-time value, without its elements.
    pub fn of(value: &Value) -> Fact {
        match value {
            Value::Tensor(tensor) => Fact::tensor(tensor.dtype(), tensor.shape()),
            Value::Sequence(items) => Fact::Sequence(Box::new(match items.split_first() {
                None => Fact::Unknown,
                Some((first, rest)) => {
                    rest.iter().fold(Fact::of(first), |fact, item| fact.either(&Fact::of(item)))
                }
            })),
            Value::Optional(inner) => {
                Fact::Optional(Box::new(inner.as_ref().map_or(Fact::Unknown, |inner| Fact::of(inner))))
            }
            Value::Map { keys, values } => Fact::Map { key: keys.dtype(), value: values.dtype() },
        }
    }

    /// The tensor fact, if this is one.
    pub fn as_tensor(&self) -> Option<&TensorFact> {
        match self {
            Fact::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The elements, if they are known.
    pub fn value(&self) -> Option<&Tensor> {
        self.as_tensor()?.value.as_ref()
    }

    /// The shape, if this is a tensor whose extents are all numbers.
    pub fn concrete_shape(&self) -> Option<Shape> {
        self.as_tensor()?.shape.concrete()
    }

    /// Number of elements of a tensor of known shape, 0 for anything else: for counts of operations. Capped at 2^44 (no
    /// memory holds as many), so that sums and small multiples do not overflow.
    pub fn element_count(&self) -> u64 {
        const MOST: u64 = 1 << 44;
        self.concrete_shape().map_or(0, |shape| (shape.elements() as u64).min(MOST))
    }

    /// What holds of a value that is like one of the two, as the results of a branch are.
    pub fn either(&self, other: &Fact) -> Fact {
        match (self, other) {
            (Fact::Tensor(a), Fact::Tensor(b)) if a.dtype == b.dtype => {
                let shape = match (a.shape.dims(), b.shape.dims()) {
                    (Some(x), Some(y)) if x.len() == y.len() => x
                        .iter()
                        .zip(y)
                        .map(|(x, y)| if x.same(y) { x.clone() } else { crate::SymDim::Unknown })
                        .collect(),
                    _ => ShapeFact::unknown(),
                };
                Fact::tensor(a.dtype, shape)
            }
            (Fact::Sequence(a), Fact::Sequence(b)) => Fact::Sequence(Box::new(a.either(b))),
            (Fact::Optional(a), Fact::Optional(b)) => Fact::Optional(Box::new(a.either(b))),
            (a, b) if a == b => a.clone(),
            _ => Fact::Unknown,
        }
    }

    /// What is known when both facts hold of one value; `None` when they contradict each other.
    pub fn merge(&self, other: &Fact) -> Option<Fact> {
        match (self, other) {
            (Fact::Unknown, fact) | (fact, Fact::Unknown) => Some(fact.clone()),
            (Fact::Tensor(a), Fact::Tensor(b)) if a.dtype == b.dtype => Some(Fact::Tensor(TensorFact {
                dtype: a.dtype,
                shape: a.shape.merge(&b.shape)?,
                value: a.value.clone().or_else(|| b.value.clone()),
            })),
            (Fact::Sequence(a), Fact::Sequence(b)) => Some(Fact::Sequence(Box::new(a.merge(b)?))),
            (Fact::Optional(a), Fact::Optional(b)) => Some(Fact::Optional(Box::new(a.merge(b)?))),
            (a, b) => (a == b).then(|| a.clone()),
        }
    }
}

impl fmt::Display for Fact {
    /// `float32[1x3xHxW]`, `sequence of float32[?]`, ...
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Tensor(tensor) => write!(f, "{}[{}]", tensor.dtype, tensor.shape),
            Fact::Sequence(inner) => write!(f, "sequence of {inner}"),
            Fact::Optional(inner) => write!(f, "optional {inner}"),
            Fact::Map { key, value } => write!(f, "map of {key} to {value}"),
            Fact::Unknown => f.write_str("unknown"),
        }
    }
}

/// The facts of a node's inputs, as [`crate::Operator::infer`] sees them. An optional input that is left out is `None`.
#[derive(Clone, Copy)]
pub struct Facts<'a>(pub &'a [Option<&'a Fact>]);

impl<'a> Facts<'a> {
    /// Number of input places, left-out ones before the last included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no input.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether input `index` is given.
    pub fn has(&self, index: usize) -> bool {
        self.get(index).is_some()
    }

    /// Input `index`, if it is given.
    pub fn get(&self, index: usize) -> Option<&'a Fact> {
        self.0.get(index).copied().flatten()
    }

    /// Input `index`, which must be given.
    ///
    /// # Errors
    /// [`OpError::MissingInput`].
    pub fn require(&self, index: usize) -> Result<&'a Fact, OpError> {
        self.get(index).ok_or(OpError::MissingInput { index })
    }

    /// Input `index`, which must be a tensor.
    ///
    /// # Errors
    /// [`OpError::MissingInput`], or [`OpError::Kind`] for a sequence or the like.
    pub fn tensor(&self, index: usize) -> Result<&'a TensorFact, OpError> {
        let fact = self.require(index)?;
        fact.as_tensor().ok_or_else(|| OpError::Kind { index, expected: "a tensor", got: fact.to_string() })
    }

    /// Input `index`, which may be left out.
    ///
    /// # Errors
    /// [`OpError::Kind`] if it is given and no tensor.
    pub fn optional(&self, index: usize) -> Result<Option<&'a TensorFact>, OpError> {
        if self.has(index) { self.tensor(index).map(Some) } else { Ok(None) }
    }

    /// Element type of tensor `index`.
    ///
    /// # Errors
    /// As [`Facts::tensor`].
    pub fn dtype(&self, index: usize) -> Result<DType, OpError> {
        self.tensor(index).map(|tensor| tensor.dtype)
    }

    /// Shape of tensor `index`.
    ///
    /// # Errors
    /// As [`Facts::tensor`].
    pub fn shape(&self, index: usize) -> Result<&'a ShapeFact, OpError> {
        self.tensor(index).map(|tensor| &tensor.shape)
    }

    /// Elements of tensor `index`, if it is given and they are known.
    pub fn value(&self, index: usize) -> Option<&'a Tensor> {
        self.get(index)?.value()
    }

    /// Elements of an integer tensor, if it is given and they are known.
    ///
    /// # Errors
    /// [`OpError::Tensor`] when the elements are no numbers.
    pub fn ints(&self, index: usize) -> Result<Option<Vec<i64>>, OpError> {
        self.value(index).map(Tensor::to_i64).transpose().map_err(OpError::from)
    }

    /// The fact of an output with the type and shape of input `index`.
    ///
    /// # Errors
    /// As [`Facts::tensor`].
    pub fn like(&self, index: usize) -> Result<Fact, OpError> {
        self.tensor(index).map(|tensor| Fact::tensor(tensor.dtype, tensor.shape.clone()))
    }

    /// An input's shape for a message.
    pub fn describe(&self, index: usize) -> String {
        self.get(index).map_or("nothing".into(), Fact::to_string)
    }
}
