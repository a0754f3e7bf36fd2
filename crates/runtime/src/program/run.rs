//! Runs a program, stage by stage.

use std::sync::Arc;
use std::time::Duration;

use inferrum_backend::{Destination, Profile, Resident, RunContext, Span, Transfer};
use inferrum_graph::{Fact, Node, NodeId, ValueId, run_reference};
use inferrum_tensor::{AllocationLimit, Value};

use super::held::Held;
use super::signature::Signature;
use super::stage::{End, Place, Stage, Step};
use super::transfers::{self, Asker};
use super::{Delivered, Delivery, Program, bind, stage};
use crate::Error;
use crate::inputs::Input;

/// The values of a run.
pub(super) struct Run<'a, 'o> {
    pub(super) program: &'a Program,
    pub(super) context: &'a RunContext<'a>,
    values: Vec<Held>,
    /// How each output of the graph is wanted.
    deliveries: Vec<Delivery<'o>>,
}

pub(super) fn run(
    program: &Program,
    inputs: Vec<Input>,
    mut deliveries: Vec<Delivery<'_>>,
    context: &RunContext<'_>,
) -> Result<Vec<Delivered>, Error> {
    deliveries.resize_with(program.graph.outputs.len(), Delivery::default);
    let mut run = Run::new(program, deliveries, context);
    let inputs = program.graph.inputs.iter().zip(inputs).map(|(&id, input)| run.given(id, input));
    let inputs = inputs.collect::<Result<_, _>>()?;
    let stage = run.finish(inputs)?;
    run.outputs(&stage)
}

/// One call of a body; its outputs are wherever it computes them.
pub(super) fn run_body(
    program: &Program,
    inputs: Vec<Held>,
    context: &RunContext<'_>,
) -> Result<Vec<Held>, Error> {
    let _limit = AllocationLimit::new(program.limit);
    context.check()?;
    let deliveries = program.graph.outputs.iter().map(|_| Delivery::Stay).collect();
    let mut run = Run::new(program, deliveries, context);
    let stage = run.finish(inputs)?;
    program.graph.outputs.iter().map(|&id| run.held(&stage, id)).collect()
}

impl<'a, 'o> Run<'a, 'o> {
    fn new(program: &'a Program, deliveries: Vec<Delivery<'o>>, context: &'a RunContext<'a>) -> Run<'a, 'o> {
        Run { program, context, values: vec![Held::default(); program.graph.values().len()], deliveries }
    }

    /// Runs all stages; gives the last one.
    fn finish(&mut self, inputs: Vec<Held>) -> Result<Arc<Stage>, Error> {
        let facts = || inputs.iter().map(Held::fact).collect();
        let mut stage = self.program.first_stage(Signature::of_inputs(&inputs), facts)?;
        for (&id, input) in self.program.graph.inputs.iter().zip(inputs) {
            self.values[id.index()] = input;
        }
        loop {
            for step in &stage.steps {
                self.context.check()?;
                self.step(&stage, step)?;
            }
            match &stage.end {
                End::Finish => return Ok(stage),
                End::Continue { .. } => stage = self.next(&stage)?,
            }
        }
    }
}

impl<'o> Run<'_, 'o> {
    /// An input; what another device holds comes to the host here.
    fn given(&self, id: ValueId, input: Input) -> Result<Held, Error> {
        Ok(match input {
            Input::Value(value) => value.into(),
            Input::Resident(tensor) => match tensor.0 {
                Resident::Device(held) if !self.program.devices.backend.holds(&*held) => {
                    let host = held.read()?;
                    let bytes = host.bytes().len() as u64;
                    self.note(|| transfers::from_elsewhere(self.program, id, bytes, held.device()));
                    Value::Tensor(host).into()
                }
                held => held.into(),
            },
        })
    }

    pub(super) fn note(&self, transfer: impl FnOnce() -> Transfer) {
        if let Some(log) = self.context.transfers {
            log.record(transfer());
        }
    }

    fn step(&mut self, stage: &Stage, step: &Step) -> Result<(), Error> {
        match step {
            Step::Region { executable, place, nodes, inputs, outputs } => {
                let tensors = inputs
                    .iter()
                    .map(|&id| self.resident(stage, id, *place, nodes))
                    .collect::<Result<Vec<_>, _>>()?;
                let destinations = self.destinations(stage, *place, nodes, outputs)?;
                let results = executable.run(&tensors, destinations, self.context)?;
                let away = *place == Place::Device && self.program.devices.host.is_some();
                for (id, tensor) in outputs.iter().zip(results) {
                    if away && !matches!(tensor, Some(Resident::Device(_))) {
                        let bytes = bind::bytes(&stage.facts[id.index()]) as u64;
                        self.note(|| transfers::to_host(self.program, *id, bytes, Asker::Caller));
                    }
                    self.values[id.index()] = tensor.map(Held::from).unwrap_or_default();
                }
                Ok(())
            }
            Step::Host(id) => {
                let node = &self.program.graph.nodes()[id.0];
                let owned = self.inputs(stage, *id)?;
                let start = self.context.profile.map(Profile::now);
                let results = run_reference(node, &owned.iter().map(Option::as_ref).collect::<Vec<_>>())?;
                if let (Some(profile), Some(start)) = (self.context.profile, start) {
                    profile.record(host_span(node, &results, start, profile.now() - start));
                }
                self.set(*id, results);
                Ok(())
            }
            Step::Control(id) => self.control(stage, *id),
        }
    }

    /// Where each output of a region goes: to where the caller wants it, unless something else needs it too; then it
    /// stays.
    fn destinations(
        &mut self,
        stage: &Stage,
        place: Place,
        nodes: &[NodeId],
        outputs: &[ValueId],
    ) -> Result<Vec<Destination<'o>>, Error> {
        let program = self.program;
        let stays = place == Place::Device && program.devices.host.is_some();
        if !stays && self.deliveries.iter().all(|delivery| matches!(delivery, Delivery::Value)) {
            return Ok(Vec::new());
        }
        let mut destinations = Vec::with_capacity(outputs.len());
        for &id in outputs {
            let mut places = (0..program.graph.outputs.len()).filter(|&at| program.graph.outputs[at] == id);
            let consumers = &program.consumers[id.index()];
            let destination = match (places.next(), places.next()) {
                (Some(place), None) if consumers.iter().all(|node| nodes.contains(node)) => {
                    self.deliveries[place].destination(&stage.facts[id.index()])?
                }
                _ if stays => Destination::Stay,
                _ => Destination::Fresh,
            };
            destinations.push(destination);
        }
        Ok(destinations)
    }

    /// The stage after `stage`, by what the run has found out.
    fn next(&mut self, stage: &Arc<Stage>) -> Result<Arc<Stage>, Error> {
        let End::Continue { at, observe, read, next } = &stage.end else { return Ok(Arc::clone(stage)) };
        let mut signature = Signature::default();
        let mut learnt = Vec::with_capacity(observe.len() + read.len());
        for (&id, elements) in observe.iter().map(|id| (id, false)).chain(read.iter().map(|id| (id, true))) {
            if let (false, Held { host: None, device: Some(tensor), .. }) =
                (elements, &self.values[id.index()])
            {
                signature.push_tensor(tensor.dtype(), tensor.shape());
                learnt.push((id, Fact::tensor(tensor.dtype(), tensor.shape())));
                continue;
            }
            let value = self.value(stage, id, Asker::Shapes(NodeId(*at)))?;
            signature.push(&value, elements);
            let fact = match value {
                Value::Tensor(tensor) if elements => Fact::constant(tensor),
                other => Fact::of(&other),
            };
            learnt.push((id, fact));
        }
        let found = stage::get_or_bind(next, signature, || {
            let mut facts = stage.facts.clone();
            for (id, fact) in learnt {
                facts[id.index()] = fact;
            }
            let (on_device, returned) = (stage.on_device.clone(), stage.returned.clone());
            bind::bind(self.program, bind::Known { facts, on_device, returned }, *at)
        })?;
        self.release(*at);
        Ok(found)
    }

    /// Drops values that no node from `at` on needs.
    fn release(&mut self, at: usize) {
        for (index, id) in self.program.graph.value_ids().enumerate() {
            let needed = self.program.consumers[index].last().is_some_and(|last| last.0 >= at);
            let held = &mut self.values[index];
            if !held.is_nowhere() && !needed && !self.program.graph.outputs.contains(&id) {
                *held = Held::default();
            }
        }
    }

    fn outputs(&mut self, stage: &Stage) -> Result<Vec<Delivered>, Error> {
        let deliveries = std::mem::take(&mut self.deliveries);
        let wanted = self.program.graph.outputs.iter().zip(deliveries);
        let deliver = |(&id, delivery): (&ValueId, Delivery<'o>)| {
            if let (Delivery::Stay, Some(tensor)) = (&delivery, &self.values[id.index()].device) {
                return Ok(Delivered::Kept(Resident::Device(Arc::clone(tensor))));
            }
            delivery.finish(|| self.value(stage, id, Asker::Caller))
        };
        wanted.map(deliver).collect()
    }

    pub(super) fn set(&mut self, id: NodeId, results: Vec<Value>) {
        for (output, value) in self.program.graph.nodes()[id.0].outputs.iter().zip(results) {
            if let Some(output) = output {
                self.values[output.index()] = value.into();
            }
        }
    }

    pub(super) fn inputs(&mut self, stage: &Stage, id: NodeId) -> Result<Vec<Option<Value>>, Error> {
        let program = self.program;
        let inputs = &program.graph.nodes()[id.0].inputs;
        let mut value = |input| self.value(stage, input, Asker::Node(id));
        inputs.iter().map(|input| input.map(&mut value).transpose()).collect()
    }

    /// A tensor for a region of `nodes` at `place`.
    fn resident(
        &mut self,
        stage: &Stage,
        id: ValueId,
        place: Place,
        nodes: &[NodeId],
    ) -> Result<Resident, Error> {
        let program = self.program;
        if let (Place::Device, Some(tensor)) = (place, &self.values[id.index()].device) {
            return Ok(Resident::Device(Arc::clone(tensor)));
        }
        let tensor = self.value(stage, id, transfers::consumer(program, id, nodes))?.into_tensor();
        let tensor = tensor.ok_or_else(|| Error::Backend(format!("`{}` is no tensor", self.name(id))))?;
        if place == Place::Device && program.devices.host.is_some() {
            if stage.shared.contains(&id) {
                self.values[id.index()].share();
            }
            let copies = self.values[id.index()].copies.clone();
            if let Some(copy) = copies.as_ref().and_then(|copies| copies.device.get()) {
                return Ok(Resident::Device(Arc::clone(copy)));
            }
            let bytes = tensor.bytes().len() as u64;
            self.note(|| transfers::to_device(program, id, bytes, nodes));
            if let Some(copies) = copies
                && let Some(copy) = program.devices.backend.upload(&tensor)?
            {
                return Ok(Resident::Device(Arc::clone(copies.device.get_or_init(|| copy))));
            }
        }
        Ok(Resident::Host(tensor))
    }

    /// A value of the run, read from the device if it is there, or one that was known when the stage was bound.
    pub(super) fn value(&mut self, stage: &Stage, id: ValueId, asker: Asker) -> Result<Value, Error> {
        let held = &mut self.values[id.index()];
        if let (None, Some(device)) = (&held.host, &held.device) {
            let copies = held.copies.clone().unwrap_or_default();
            held.host = copies.host.get().cloned();
            if held.host.is_none() {
                let tensor = device.read()?;
                let bytes = tensor.bytes().len() as u64;
                held.host = Some(copies.host.get_or_init(|| Value::Tensor(tensor)).clone());
                self.note(|| transfers::to_host(self.program, id, bytes, asker));
            }
        }
        let run = self.values[id.index()].host.clone();
        run.or_else(|| stage.facts[id.index()].value().cloned().map(Value::Tensor))
            .ok_or_else(|| Error::Backend(format!("no node, input or constant gives `{}`", self.name(id))))
    }

    /// A value of the run wherever it is, or one that was known when the stage was bound.
    pub(super) fn held(&self, stage: &Stage, id: ValueId) -> Result<Held, Error> {
        let held = &self.values[id.index()];
        if !held.is_nowhere() {
            return Ok(held.clone());
        }
        let known = stage.facts[id.index()].value().cloned().map(|known| Value::Tensor(known).into());
        known.ok_or_else(|| Error::Backend(format!("no node, input or constant gives `{}`", self.name(id))))
    }

    /// Takes over a node's outputs wherever they are.
    pub(super) fn hold(&mut self, id: NodeId, results: Vec<Held>) {
        for (output, value) in self.program.graph.nodes()[id.0].outputs.iter().zip(results) {
            if let Some(output) = output {
                self.values[output.index()] = value;
            }
        }
    }

    fn name(&self, id: ValueId) -> &str {
        &self.program.graph.value(id).name
    }
}

/// The span of a node that ran on the host; its operations and bytes are not counted.
fn host_span(node: &Node, results: &[Value], start: Duration, duration: Duration) -> Span {
    Span {
        node: node.name.clone(),
        op: node.op.label(),
        kernel: super::bind::REFERENCE.into(),
        start,
        duration,
        flops: 0,
        bytes: 0,
        shape: results.first().and_then(Value::as_tensor).map(|t| t.shape().to_string()).unwrap_or_default(),
    }
}
