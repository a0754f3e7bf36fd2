//! Operators that give the first input's bytes under another shape: `Reshape` and its kin, and `Dropout` outside of training.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::dropout::Dropout;
use inferrum_tensor::Tensor;

use crate::kernel::{Lowered, Lowering};

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if let Some(op) = (op as &dyn Any).downcast_ref::<Dropout>() {
        let trains = match lowering.constant(2).map(Tensor::to_scalar::<bool>) {
            Some(Ok(trains)) => trains,
            Some(Err(error)) => return Err(Decline(error.to_string())),
            None => op.may_train && lowering.has(2),
        };
        if trains || lowering.wants(1) {
            return Err(Decline("it may train, or the mask is needed".into()));
        }
    }
    // Inputs after the first have had their say in the output's shape.
    let rest: Vec<usize> = (1..lowering.bound.inputs.len()).collect();
    Ok(Lowered::view("view").packed(&rest))
}
