//! A chain of element-wise operators as one, so that a device passes over memory once.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator};
use inferrum_tensor::Value;

/// Element-wise operators applied one after the other; the last one's result is the output. Inputs: those that the steps
/// name; shapes broadcast as the steps say. Output: as the last step's.
///
/// A step's operator has one output and treats each element alone ([`crate::expression`] tells), or is a
/// [`Cast`](crate::cast::Cast) between floats and truth values. Values between steps need not exist: a device computes an element of the output from elements of the inputs, in at least the precision
/// of each step's type.
#[derive(Debug, Clone)]
pub struct Elementwise {
    /// The steps; each refers only to those before it.
    pub steps: Vec<Step>,
}

/// An operator of the chain.
#[derive(Debug, Clone)]
pub struct Step {
    /// The operator.
    pub op: Arc<dyn Operator>,
    /// Its inputs; `None` is an optional one left out.
    pub operands: Vec<Option<Operand>>,
}

/// An input of a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The chain's input at this place.
    Input(usize),
    /// The result of the step at this place.
    Step(usize),
}

impl Step {
    /// What stands for each operand, given the chain's inputs and the results so far.
    fn choose<'a, T>(&self, input: impl Fn(usize) -> Option<&'a T>, results: &'a [T]) -> Vec<Option<&'a T>> {
        let choice = |operand: &Option<Operand>| match (*operand)? {
            Operand::Input(index) => input(index),
            Operand::Step(index) => results.get(index),
        };
        self.operands.iter().map(choice).collect()
    }
}

impl Elementwise {
    /// What is known of each step's result.
    ///
    /// # Errors
    /// A step refuses its inputs, or there is no step.
    pub fn facts(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let mut results: Vec<Fact> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let operands = step.choose(|index| inputs.get(index), &results);
            let inferred = step.op.infer(Facts(&operands))?;
            results.push(inferred.into_iter().next().ok_or_else(|| no_result(step))?);
        }
        if results.is_empty() {
            return Err(OpError::Invalid("a chain of element-wise operators has no steps".into()));
        }
        Ok(results)
    }
}

fn no_result(step: &Step) -> OpError {
    OpError::Invalid(format!("{} in a chain of element-wise operators gives no output", step.op.key()))
}

impl Operator for Elementwise {
    fn key(&self) -> OpKey {
        OpKey::fused("Elementwise")
    }

    fn label(&self) -> String {
        self.steps.iter().map(|step| step.op.label()).collect::<Vec<_>>().join(" + ")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let mut results = self.facts(inputs)?;
        Ok(results.pop().into_iter().collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let mut results: Vec<Value> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let operands = step.choose(|index| inputs.get(index), &results);
            let outputs = step.op.reference(Inputs(&operands))?;
            results.push(outputs.into_iter().next().ok_or_else(|| no_result(step))?);
        }
        Ok(results.pop().into_iter().collect())
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let Ok(facts) = self.facts(inputs) else { return 0 };
        let steps = self.steps.iter().zip(&facts);
        let flops = steps.map(|(step, fact)| {
            let operands = step.choose(|index| inputs.get(index), &facts);
            step.op.flops(Facts(&operands), std::slice::from_ref(fact))
        });
        flops.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::{Binary, BinaryKind};
    use crate::testing::{run, try_run};
    use crate::unary::{Unary, UnaryKind};
    use inferrum_tensor::{DType, Tensor};

    fn step(op: impl Operator, operands: &[Operand]) -> Step {
        Step { op: Arc::new(op), operands: operands.iter().copied().map(Some).collect() }
    }

    #[test]
    fn steps_follow_each_other() {
        let chain = Elementwise {
            steps: vec![
                step(Binary::new(BinaryKind::Mul), &[Operand::Input(0), Operand::Input(1)]),
                step(Unary { kind: UnaryKind::Neg }, &[Operand::Step(0)]),
                step(Binary::new(BinaryKind::Less), &[Operand::Step(1), Operand::Input(0)]),
            ],
        };
        let x = Tensor::from_vec([2, 1], vec![1f32, -2.0]).unwrap();
        let y = run(&chain, &[x, Tensor::vector(vec![3f32, -5.0, 0.0])]);
        assert_eq!(y[0].shape().dims(), [2, 3]);
        assert_eq!(y[0].as_slice::<bool>().unwrap(), [true, false, true, false, true, false]);
    }

    #[test]
    fn what_a_step_refuses_is_an_error() {
        let zeros = |dims: &[usize]| Some(Tensor::zeros(DType::F32, dims).unwrap());
        let add = step(Binary::new(BinaryKind::Add), &[Operand::Input(0), Operand::Input(1)]);
        let chain = Elementwise { steps: vec![add] };
        assert!(try_run(&chain, &[zeros(&[2]), zeros(&[3])]).is_err());
        assert!(try_run(&chain, &[zeros(&[2])]).is_err());
        assert!(try_run(&Elementwise { steps: Vec::new() }, &[]).is_err());
    }
}
