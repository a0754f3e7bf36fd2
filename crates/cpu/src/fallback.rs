//! The kernel of last resort: an operator's reference.

use std::sync::Arc;

use inferrum_backend::BoundNode;
use inferrum_graph::{Fact, Inputs, OpError, Operator};
use inferrum_tensor::{AlignedBytes, Tensor, Value};

use crate::kernel::{Io, Lowered, NodeKernel};

/// Runs the reference on copies of the inputs.
struct Fallback {
    op: Arc<dyn Operator>,
    /// Constant inputs, which need no copy.
    constants: Vec<Option<Value>>,
}

/// A kernel for any node whose values are stored as bytes.
pub(crate) fn lower(bound: &BoundNode<'_>) -> Lowered {
    let constant = |fact: &Option<&Fact>| fact.and_then(Fact::value).cloned().map(Value::Tensor);
    let constants: Vec<_> = bound.inputs.iter().map(constant).collect();
    let packed: Vec<usize> = (0..constants.len()).filter(|&i| constants[i].is_some()).collect();
    Lowered::new("reference", Fallback { op: bound.node.op.clone(), constants }).packed(&packed)
}

/// Does nothing.
struct Nothing;

/// A kernel for a node whose outputs have no elements, if this is one: its other extents may be so large that a loop over
/// them never ends.
pub(crate) fn nothing(bound: &BoundNode<'_>) -> Option<Lowered> {
    let elements = |fact: &&Fact| fact.concrete_shape().map_or(1, |shape| shape.elements());
    let empty = bound.outputs.iter().flatten().all(|fact| elements(fact) == 0);
    let all: Vec<usize> = (0..bound.inputs.len()).collect();
    empty.then(|| Lowered::new("nothing", Nothing).packed(&all))
}

impl NodeKernel for Nothing {
    fn run(&self, _io: Io<'_>) -> Result<(), OpError> {
        Ok(())
    }
}

impl NodeKernel for Fallback {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let copies = (0..self.constants.len())
            .map(|index| match (&self.constants[index], io.view(index)) {
                (Some(constant), _) => Ok(Some(constant.clone())),
                (None, None) => Ok(None),
                (None, Some(view)) => {
                    let bytes = AlignedBytes::copy_of(view.bytes)?;
                    Ok(Some(Value::Tensor(Tensor::from_aligned(view.dtype, view.shape.clone(), bytes)?)))
                }
            })
            .collect::<Result<Vec<Option<Value>>, OpError>>()?;
        let inputs: Vec<Option<&Value>> = copies.iter().map(Option::as_ref).collect();
        let results = self.op.reference(Inputs(&inputs))?;
        for (output, result) in io.outputs.iter_mut().zip(results) {
            let (Some(output), Some(result)) = (output, result.as_tensor()) else { continue };
            if result.shape() != output.shape || result.dtype() != output.dtype {
                return Err(OpError::Invalid(format!(
                    "inferred an output {}[{}], but got {}[{}]",
                    output.dtype,
                    output.shape,
                    result.dtype(),
                    result.shape()
                )));
            }
            output.bytes.copy_from_slice(result.bytes());
        }
        Ok(())
    }
}
