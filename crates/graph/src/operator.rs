//! What every operator can do.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use inferrum_tensor::{Tensor, Value};

use crate::{Fact, Facts, Graph, OpError};

/// One operator with its attributes. `Debug` must show every attribute: two operators are the same when their
/// [`OpKey`] and `Debug` texts are.
pub trait Operator: Any + fmt::Debug + Send + Sync {
    /// Domain and type.
    fn key(&self) -> OpKey;

    /// What to call the operator in front of a user: its key, or for a fusion what was fused.
    fn label(&self) -> String {
        self.key().to_string()
    }

    /// Types and shapes of the outputs (and elements, where they follow from shapes alone, as for `Shape`).
    ///
    /// When all input shapes are concrete and the elements of [`Operator::value_inputs`] are known, the output shapes
    /// are concrete too, unless they depend on other elements (as for `NonZero`).
    ///
    /// # Errors
    /// Inputs that the operator cannot take.
    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError>;

    /// The outputs: slow, safe and obviously right. Inputs have passed [`Operator::infer`].
    ///
    /// # Errors
    /// Elements that the operator cannot take; memory.
    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError>;

    /// Positions of the inputs whose elements decide the outputs' shapes, as the second of `Reshape`.
    fn value_inputs(&self) -> &[usize] {
        &[]
    }

    /// Whether equal inputs always give equal outputs. False for random numbers.
    fn is_pure(&self) -> bool {
        true
    }

    /// Arithmetic operations of one run (a multiply-add counts 2); one for each output element unless said otherwise.
    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        outputs.iter().map(Fact::element_count).sum()
    }

    /// The operator as one that runs bodies, if it does.
    fn control(&self) -> Option<&dyn Control> {
        None
    }
}

/// An operator that runs bodies: `If`, `Loop`, `Scan`, `SequenceMap`.
///
/// What a body takes from the graph around it is explicit: those values are the last inputs of the node and the last
/// inputs of each of its bodies, in the same order.
pub trait Control {
    /// The bodies.
    fn bodies(&self) -> Vec<&Arc<Graph>>;

    /// The same operator with other bodies, in the order of [`Control::bodies`].
    fn with_bodies(&self, bodies: Vec<Arc<Graph>>) -> Arc<dyn Operator>;

    /// For each body, types and shapes of what the first call gives it, as far as they follow from those of the node's
    /// inputs.
    ///
    /// # Errors
    /// The node does not take such inputs.
    fn body_inputs(&self, inputs: Facts<'_>) -> Result<Vec<Vec<Fact>>, OpError>;

    /// Runs the operator; `call(i, inputs)` runs body `i`.
    ///
    /// # Errors
    /// Errors of the bodies; elements that the operator cannot take.
    fn run(&self, inputs: Inputs<'_>, call: &mut CallBody<'_>) -> Result<Vec<Value>, OpError>;
}

/// Runs a body by its index.
pub type CallBody<'a> = dyn FnMut(usize, Vec<Value>) -> Result<Vec<Value>, OpError> + 'a;

/// Domain and type of an operator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OpKey {
    /// The domain; empty for ONNX's own.
    pub domain: &'static str,
    /// The type, such as `Softmax`.
    pub op_type: &'static str,
}

impl OpKey {
    /// An operator of ONNX's own domain.
    pub const fn onnx(op_type: &'static str) -> OpKey {
        OpKey { domain: "", op_type }
    }

    /// An operator of `ai.onnx.ml`.
    pub const fn ml(op_type: &'static str) -> OpKey {
        OpKey { domain: "ai.onnx.ml", op_type }
    }

    /// An operator of `com.microsoft`.
    pub const fn microsoft(op_type: &'static str) -> OpKey {
        OpKey { domain: "com.microsoft", op_type }
    }

    /// An operator of `ai.onnx.preview`.
    pub const fn preview(op_type: &'static str) -> OpKey {
        OpKey { domain: "ai.onnx.preview", op_type }
    }

    /// An operator that Inferrum's own rewrites make.
    pub const fn fused(op_type: &'static str) -> OpKey {
        OpKey { domain: "inferrum", op_type }
    }
}

impl fmt::Display for OpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_empty() {
            f.write_str(self.op_type)
        } else {
            write!(f, "{}.{}", self.domain, self.op_type)
        }
    }
}

/// The values of a node's inputs, as [`Operator::reference`] sees them. An optional input that is left out is `None`.
#[derive(Clone, Copy)]
pub struct Inputs<'a>(pub &'a [Option<&'a Value>]);

impl<'a> Inputs<'a> {
    /// Number of input places, left-out ones before the last included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no input.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Input `index`, if it is given.
    pub fn get(&self, index: usize) -> Option<&'a Value> {
        self.0.get(index).copied().flatten()
    }

    /// Input `index`, which must be given.
    ///
    /// # Errors
    /// [`OpError::MissingInput`].
    pub fn require(&self, index: usize) -> Result<&'a Value, OpError> {
        self.get(index).ok_or(OpError::MissingInput { index })
    }

    /// Input `index`, which must be a tensor.
    ///
    /// # Errors
    /// [`OpError::MissingInput`], or [`OpError::Kind`] for a sequence or the like.
    pub fn tensor(&self, index: usize) -> Result<&'a Tensor, OpError> {
        let value = self.require(index)?;
        value.as_tensor().ok_or_else(|| OpError::Kind { index, expected: "a tensor", got: value.describe() })
    }

    /// Input `index`, which may be left out.
    ///
    /// # Errors
    /// [`OpError::Kind`] if it is given and no tensor.
    pub fn optional(&self, index: usize) -> Result<Option<&'a Tensor>, OpError> {
        if self.get(index).is_some() { self.tensor(index).map(Some) } else { Ok(None) }
    }

    /// Input `index`, which must be a sequence.
    ///
    /// # Errors
    /// [`OpError::MissingInput`], [`OpError::Kind`].
    pub fn sequence(&self, index: usize) -> Result<&'a [Value], OpError> {
        match self.require(index)? {
            Value::Sequence(items) => Ok(items),
            other => Err(OpError::Kind { index, expected: "a sequence", got: other.describe() }),
        }
    }

    /// The elements of an integer tensor.
    ///
    /// # Errors
    /// As [`Inputs::tensor`], and [`OpError::Tensor`] when the elements are no numbers.
    pub fn ints(&self, index: usize) -> Result<Vec<i64>, OpError> {
        Ok(self.tensor(index)?.to_i64()?)
    }

    /// The elements of an integer tensor that may be left out.
    ///
    /// # Errors
    /// As [`Inputs::ints`].
    pub fn optional_ints(&self, index: usize) -> Result<Option<Vec<i64>>, OpError> {
        if self.get(index).is_some() { self.ints(index).map(Some) } else { Ok(None) }
    }

    /// Calls `f` with what is known of the inputs, elements included: an operator whose output shapes are easy to infer
    /// uses this in its reference.
    pub fn with_facts<R>(&self, f: impl FnOnce(Facts<'_>) -> R) -> R {
        let facts: Vec<Option<Fact>> = self
            .0
            .iter()
            .map(|value| {
                value.map(|value| match value {
                    Value::Tensor(tensor) => Fact::constant(tensor.clone()),
                    other => Fact::of(other),
                })
            })
            .collect();
        let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        f(Facts(&refs))
    }
}
