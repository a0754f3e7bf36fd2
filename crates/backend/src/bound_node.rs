//! A node with its facts, as lowering asks for them.

use inferrum_graph::{Fact, Facts, Node};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::Decline;

/// A node whose inputs and outputs have concrete shapes.
#[derive(Clone, Debug)]
pub struct BoundNode<'a> {
    /// The node.
    pub node: &'a Node,
    /// Facts of the inputs; `None` is an optional input left out.
    pub inputs: Vec<Option<&'a Fact>>,
    /// Facts of the outputs; `None` is an output that nobody needs.
    pub outputs: Vec<Option<&'a Fact>>,
}

impl BoundNode<'_> {
    /// Arithmetic operations of one run.
    pub fn flops(&self) -> u64 {
        let outputs: Vec<Fact> = self.outputs.iter().flatten().map(|&fact| fact.clone()).collect();
        self.node.op.flops(Facts(&self.inputs), &outputs)
    }

    /// Bytes of all inputs and outputs.
    pub fn bytes(&self) -> u64 {
        self.inputs
            .iter()
            .chain(&self.outputs)
            .flatten()
            .fold(0, |sum, fact| sum.saturating_add(fact_bytes(fact) as u64))
    }
}

impl<'a> BoundNode<'a> {
    /// Whether input `index` is given.
    pub fn has(&self, index: usize) -> bool {
        self.input(index).is_some()
    }

    fn input(&self, index: usize) -> Option<&'a Fact> {
        self.inputs.get(index).copied().flatten()
    }

    /// Element type of input `index`.
    ///
    /// # Errors
    /// The input is not there.
    pub fn dtype(&self, index: usize) -> Result<DType, Decline> {
        self.input(index).and_then(Fact::as_tensor).map(|tensor| tensor.dtype).ok_or_else(|| missing(index))
    }

    /// Shape of input `index`.
    ///
    /// # Errors
    /// The input is not there.
    pub fn shape(&self, index: usize) -> Result<Shape, Decline> {
        self.input(index).and_then(Fact::concrete_shape).ok_or_else(|| missing(index))
    }

    /// Elements of input `index`, if it is a constant.
    pub fn constant(&self, index: usize) -> Option<&'a Tensor> {
        self.input(index)?.value()
    }

    /// Elements of a constant input as integers.
    ///
    /// # Errors
    /// The input is no constant.
    pub fn ints(&self, index: usize) -> Result<Vec<i64>, Decline> {
        let constant =
            self.constant(index).ok_or_else(|| Decline(format!("input {index} is not constant")))?;
        constant.to_i64().map_err(|error| Decline(error.to_string()))
    }

    /// Whether output `index` is needed.
    pub fn wants(&self, index: usize) -> bool {
        self.outputs.get(index).is_some_and(Option::is_some)
    }

    /// Shape of output `index`.
    ///
    /// # Errors
    /// The output is not needed.
    pub fn output_shape(&self, index: usize) -> Result<Shape, Decline> {
        let fact = self.outputs.get(index).copied().flatten();
        fact.and_then(Fact::concrete_shape).ok_or_else(|| Decline(format!("output {index} is not needed")))
    }

    /// Element type of output `index`.
    ///
    /// # Errors
    /// The output is not needed.
    pub fn output_dtype(&self, index: usize) -> Result<DType, Decline> {
        let fact = self.outputs.get(index).copied().flatten().and_then(Fact::as_tensor);
        fact.map(|tensor| tensor.dtype).ok_or_else(|| Decline(format!("output {index} is not needed")))
    }

    /// Declines unless every given input (except those in `other`) is of `dtype`.
    ///
    /// # Errors
    /// [`Decline`] that names the input.
    pub fn require_dtype(&self, dtype: DType, other: &[usize]) -> Result<(), Decline> {
        for (index, fact) in self.inputs.iter().enumerate() {
            let got = fact.and_then(Fact::as_tensor).map(|tensor| tensor.dtype);
            if got.is_some_and(|got| got != dtype) && !other.contains(&index) {
                return Err(Decline(format!(
                    "input {index} is {}, the kernel takes {dtype}",
                    got.unwrap_or(dtype)
                )));
            }
        }
        Ok(())
    }
}

/// Bytes of a tensor of concrete shape; 0 for anything else.
fn fact_bytes(fact: &Fact) -> usize {
    fact.as_tensor()
        .zip(fact.concrete_shape())
        .map_or(0, |(tensor, shape)| shape.elements().saturating_mul(tensor.dtype.size()))
}

fn missing(index: usize) -> Decline {
    Decline(format!("input {index} is missing"))
}
