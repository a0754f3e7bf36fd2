//! Control flow: bodies run as programs of their own, on values wherever they are.

use std::any::Any;

use inferrum_graph::{Fact, Inputs, Node, NodeId, OpError};
use inferrum_ops::if_::If;
use inferrum_ops::loop_::{Bodies, HEAD, Loop, Start};
use inferrum_tensor::{Tensor, Value};

use super::held::Held;
use super::run::{Run, run_body};
use super::stage::Stage;
use super::transfers::{self, Asker};
use super::{Delivered, Program};
use crate::Error;
use crate::inputs::Input;

/// How many inputs of a node that the host runs it reads, the first ones; what a loop carries and captures, and what branches
/// capture, it hands on.
pub(super) fn read_inputs(node: &Node) -> usize {
    let op = node.op.as_ref() as &dyn Any;
    if op.is::<Loop>() {
        HEAD
    } else if op.is::<If>() {
        1
    } else {
        node.inputs.len()
    }
}

/// A loop's body and where it is called.
struct Body<'r, 'a, 'o> {
    run: &'r Run<'a, 'o>,
    program: &'a Program,
}

/// Why a loop fails.
enum Failed {
    Operator(OpError),
    Body(Error),
}

impl From<OpError> for Failed {
    fn from(error: OpError) -> Failed {
        Failed::Operator(error)
    }
}

impl Bodies for Body<'_, '_, '_> {
    type Value = Held;
    type Error = Failed;

    fn host(&mut self, value: Value) -> Held {
        value.into()
    }

    fn fact(&self, value: &Held) -> Fact {
        value.fact()
    }

    fn read(&mut self, index: usize, value: Held) -> Result<Value, Failed> {
        let device = match (value.host, value.device) {
            (Some(value), _) => return Ok(value),
            (None, Some(device)) => device,
            (None, None) => return Err(OpError::Invalid("a body gives nothing".into()).into()),
        };
        let tensor = device.read().map_err(|error| Failed::Body(error.into()))?;
        let (id, bytes) = (self.program.graph.outputs[index], tensor.bytes().len() as u64);
        self.run.note(|| transfers::to_host(self.program, id, bytes, Asker::Caller));
        Ok(tensor.into())
    }

    fn call(&mut self, inputs: Vec<Held>) -> Result<Vec<Held>, Failed> {
        run_body(self.program, inputs, self.run.context).map_err(Failed::Body)
    }
}

impl<'a> Run<'a, '_> {
    /// Runs a node that has bodies.
    pub(super) fn control(&mut self, stage: &Stage, id: NodeId) -> Result<(), Error> {
        let node = &self.program.graph.nodes()[id.0];
        let op = node.op.as_ref() as &dyn Any;
        if let Some(op) = op.downcast_ref::<Loop>() {
            self.looped(stage, id, op)
        } else if let Some(op) = op.downcast_ref::<If>() {
            self.branched(stage, id, op)
        } else {
            self.on_host(stage, id)
        }
    }

    fn looped(&mut self, stage: &Stage, id: NodeId, op: &Loop) -> Result<(), Error> {
        let own = self.program.graph.nodes()[id.0].inputs.len().saturating_sub(op.captures);
        let refused = |run: &Self, source| run.refused(stage, id, source);
        let mut head = |index: usize| if index < own { self.tensor(stage, id, index) } else { Ok(None) };
        let (most, goes_on) = (head(0)?, head(1)?);
        let most = most.map(|most| most.to_scalar::<i64>()).transpose();
        let goes_on = goes_on.map(|goes_on| goes_on.to_scalar::<bool>()).transpose();
        let most = most.map_err(|error| refused(self, error.into()))?;
        let goes_on = goes_on.map_err(|error| refused(self, error.into()))?.unwrap_or(true);
        let carried = self.held_inputs(stage, id, HEAD.min(own)..own)?;
        let mut captured = self.held_inputs(stage, id, own..own + op.captures)?;
        // What every call takes crosses once.
        captured.iter_mut().for_each(Held::share);
        let start = Start { most, goes_on, carried, captured };
        let mut body = Body { run: self, program: self.body(id, 0)? };
        let results = op.iterate(start, &mut body);
        match results {
            Ok(results) => {
                self.context.check()?;
                self.hold(id, results);
                Ok(())
            }
            Err(Failed::Body(error)) => Err(error),
            Err(Failed::Operator(source)) => Err(refused(self, source)),
        }
    }

    fn branched(&mut self, stage: &Stage, id: NodeId, op: &If) -> Result<(), Error> {
        let own = self.program.graph.nodes()[id.0].inputs.len().saturating_sub(op.captures);
        let condition = self.tensor(stage, id, 0)?.ok_or(OpError::Invalid("there is no condition".into()));
        let condition = condition.and_then(|condition| Ok(condition.to_scalar::<bool>()?));
        let condition = condition.map_err(|source| self.refused(stage, id, source))?;
        let captured = self.held_inputs(stage, id, own..own + op.captures)?;
        let results = run_body(self.body(id, usize::from(!condition))?, captured, self.context)?;
        self.context.check()?;
        self.hold(id, results);
        Ok(())
    }

    /// Runs a node that looks at all that it takes.
    fn on_host(&mut self, stage: &Stage, id: NodeId) -> Result<(), Error> {
        let node = &self.program.graph.nodes()[id.0];
        let owned = self.inputs(stage, id)?;
        let inputs: Vec<Option<&Value>> = owned.iter().map(Option::as_ref).collect();
        let (Some(control), Some(bodies)) = (node.op.control(), self.program.bodies.get(&id)) else {
            return Err(Error::Backend(format!("node `{}` has no bodies", node.name)));
        };
        // The operator's interface carries operator errors only; the body's own error is kept beside it.
        let mut failed = None;
        let mut call = |index: usize, inputs: Vec<Value>| {
            let body: &Program =
                bodies.get(index).ok_or_else(|| OpError::Invalid(format!("there is no body {index}")))?;
            self.context.check().map_err(|_| OpError::Stopped("in a body"))?;
            let inputs = inputs.into_iter().map(Input::Value).collect();
            let outputs = body.run(inputs, Vec::new(), self.context).map_err(|error| {
                failed = Some(error);
                OpError::Stopped("its body failed")
            })?;
            Ok(outputs.into_iter().filter_map(Delivered::into_value).collect())
        };
        let results = control.run(Inputs(&inputs), &mut call);
        if let Some(error) = failed {
            return Err(error);
        }
        self.context.check()?;
        let facts: Vec<Option<Fact>> = inputs.iter().map(|value| value.map(Fact::of)).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        self.set(id, results.map_err(|source| node.error(&facts, source))?);
        Ok(())
    }

    fn body(&self, id: NodeId, index: usize) -> Result<&'a Program, Error> {
        let body = self.program.bodies.get(&id).and_then(|bodies| bodies.get(index));
        body.ok_or_else(|| {
            Error::Backend(format!("node `{}` has no body {index}", self.program.graph.nodes()[id.0].name))
        })
    }

    /// An input of a node on the host, if it is given and a tensor.
    fn tensor(&mut self, stage: &Stage, id: NodeId, index: usize) -> Result<Option<Tensor>, Error> {
        let input = self.program.graph.nodes()[id.0].inputs.get(index).copied().flatten();
        let value = input.map(|input| self.value(stage, input, Asker::Node(id))).transpose()?;
        match value {
            None => Ok(None),
            Some(Value::Tensor(tensor)) => Ok(Some(tensor)),
            Some(other) => {
                let got = other.describe();
                Err(self.refused(stage, id, OpError::value(index, format!("a tensor is wanted, not {got}"))))
            }
        }
    }

    /// Inputs of a node wherever they are.
    fn held_inputs(
        &mut self,
        stage: &Stage,
        id: NodeId,
        places: std::ops::Range<usize>,
    ) -> Result<Vec<Held>, Error> {
        let node = &self.program.graph.nodes()[id.0];
        let held = |place: usize| match node.inputs.get(place).copied().flatten() {
            Some(input) => self.held(stage, input),
            None => {
                let source = OpError::Invalid(format!("input {place} is left out"));
                Err(self.refused(stage, id, source))
            }
        };
        places.map(held).collect()
    }

    /// An error of a node with what is known of its inputs.
    fn refused(&self, stage: &Stage, id: NodeId, source: OpError) -> Error {
        let node = &self.program.graph.nodes()[id.0];
        let facts: Vec<Option<&Fact>> =
            node.inputs.iter().map(|input| input.map(|input| &stage.facts[input.index()])).collect();
        Error::Node(node.error(&facts, source))
    }
}
