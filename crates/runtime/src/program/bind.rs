//! Binds a stage: resolves shapes, folds what is known, forms regions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use inferrum_backend::{BoundNode, Decline, NodePlacement, Region};
use inferrum_graph::{Fact, Facts, Inputs, Node, NodeId, ValueId, evaluate};
use inferrum_tensor::{DType, Value};

use super::stage::{self, End, Place, Stage, Step};
use super::{Program, control, stages, transfers};
use crate::Error;

/// Arithmetic operations of a node that is folded at bind time at most: a pooling of few elements may have a window of
/// any size.
const FOLDED_FLOPS: u64 = 1 << 24;

/// Elements of a value that is folded at bind time at most: shapes and the like, not data.
const FOLDED_ELEMENTS: usize = 4096;

/// Work (operations, and bytes of outputs) of a node at most that goes on where the host has all it takes, some of it from the
/// device: to send it back there would cost more.
const LITTLE_WORK: u64 = 1 << 16;

/// What a node's placement calls its reference.
pub(super) const REFERENCE: &str = "reference";

/// What a node's placement calls the interpretation of bodies.
pub(super) const CONTROL: &str = "control flow";

/// What a node becomes.
enum Role {
    /// Its outputs are known already.
    Folded,
    /// It runs on the backend.
    Region,
    /// It runs on the host, by its reference.
    Host,
    /// It runs bodies.
    Control,
}

struct Binder<'a> {
    program: &'a Program,
    facts: Vec<Fact>,
    /// Which values the device computes.
    on_device: Vec<bool>,
    /// Which values came from the device to the host, or follow there from such.
    returned: Vec<bool>,
    drafts: Vec<Draft>,
    /// Why the device does not run nodes that the processor runs.
    declined: HashMap<NodeId, String>,
}

enum Draft {
    Region(Place, Vec<NodeId>),
    Host(NodeId),
    Control(NodeId),
}

/// What is known of the values where a stage begins.
pub(super) struct Known {
    pub(super) facts: Vec<Fact>,
    /// Which of them the device has computed.
    pub(super) on_device: Vec<bool>,
    /// Which of them came from the device to the host, or follow there from such.
    pub(super) returned: Vec<bool>,
}

/// Binds the stage that begins at node `start`.
pub(super) fn bind(program: &Program, known: Known, start: usize) -> Result<Stage, Error> {
    let Known { facts, on_device, returned } = known;
    let read: Vec<bool> = on_device.iter().zip(&returned).map(|(on, back)| *on && *back).collect();
    let mut binder =
        Binder { program, facts, on_device, returned, drafts: Vec::new(), declined: HashMap::new() };
    let nodes = program.graph.nodes();
    let mut end = End::Finish;
    let mut at = nodes.len();
    for index in start..nodes.len() {
        match binder.node(NodeId(index))? {
            Next::Go => {}
            Next::Stop { at: next, observe, read } => {
                read.iter().for_each(|id| binder.returned[id.index()] |= binder.on_device[id.index()]);
                end = End::Continue { at: next, observe, read, next: stages() };
                at = next;
                break;
            }
        }
    }
    let stage = binder.finish(at, end)?;
    program.note_transfers(start, transfers::of_stage(program, &stage, read));
    Ok(stage)
}

enum Next {
    /// Bind the next node.
    Go,
    /// The stage ends here.
    Stop { at: usize, observe: Vec<ValueId>, read: Vec<ValueId> },
}

impl Binder<'_> {
    fn node(&mut self, id: NodeId) -> Result<Next, Error> {
        let graph = Arc::clone(&self.program.graph);
        let node = &graph.nodes()[id.0];
        if self.fold(node)? {
            return Ok(Next::Go);
        }
        let inferred = self.infer(node)?;
        let role = self.role(node, &inferred);
        let settled =
            inferred.iter().zip(&node.outputs).all(|(fact, output)| output.is_none() || settled(fact));
        if !settled {
            let unknown = self.unknown_elements(node);
            if !unknown.is_empty() {
                return Ok(Next::Stop { at: id.0, observe: Vec::new(), read: unknown });
            }
        }
        self.set(node, inferred);
        match role {
            Role::Folded => return Ok(Next::Go),
            Role::Region if settled => {
                let place = self.place(id);
                match self.drafts.last_mut() {
                    Some(Draft::Region(last, nodes)) if *last == place => nodes.push(id),
                    _ => self.drafts.push(Draft::Region(place, vec![id])),
                }
                return Ok(Next::Go);
            }
            Role::Control => {
                self.on_host(node);
                self.drafts.push(Draft::Control(id));
            }
            Role::Region | Role::Host => {
                self.on_host(node);
                self.drafts.push(Draft::Host(id));
            }
        }
        if settled {
            return Ok(Next::Go);
        }
        let observe = node.outputs.iter().flatten().copied().collect();
        Ok(Next::Stop { at: id.0 + 1, observe, read: Vec::new() })
    }

    /// Where a node of known shapes runs: on the device if it takes it, but for arithmetic of shapes and indices whose
    /// operands the host has.
    fn place(&mut self, id: NodeId) -> Place {
        let Some(host) = &self.program.devices.host else { return Place::Device };
        let node = &self.program.graph.nodes()[id.0];
        let fact = |value: &Option<ValueId>| value.map(|value| &self.facts[value.index()]);
        let bound = BoundNode {
            node,
            inputs: node.inputs.iter().map(fact).collect(),
            outputs: node.outputs.iter().map(fact).collect(),
        };
        let place = match self.program.devices.backend.claim(&bound) {
            Ok(_) if self.is_shape_work(node) || self.is_little_work(node, bound.flops()) => Place::Host,
            Ok(_) => Place::Device,
            Err(Decline(reason)) => {
                self.declined.insert(id, reason);
                Place::Host
            }
        };
        log::trace!(
            "`{}` runs on {}",
            node.name,
            if place == Place::Device { "the device" } else { &host.info().id }
        );
        for output in node.outputs.iter().flatten() {
            self.on_device[output.index()] = place == Place::Device;
        }
        if place == Place::Host {
            self.on_host(node);
        }
        place
    }

    /// Notes that the host runs a node, and reads its inputs for that.
    fn on_host(&mut self, node: &Node) {
        let mut any = false;
        let read = if node.op.control().is_some() { control::read_inputs(node) } else { node.inputs.len() };
        for input in node.inputs.iter().take(read).flatten().map(|id| id.index()) {
            self.returned[input] |= self.on_device[input];
            any |= self.returned[input];
        }
        node.outputs.iter().flatten().for_each(|output| self.returned[output.index()] = any);
    }

    /// Whether the host has all inputs of a node, some of which came from the device, and it is little work.
    fn is_little_work(&self, node: &Node, flops: u64) -> bool {
        let inputs = || node.inputs.iter().flatten().map(|id| id.index());
        let written = node.outputs.iter().flatten().map(|id| bytes(&self.facts[id.index()]) as u64);
        inputs().all(|id| !self.on_device[id] || self.returned[id])
            && inputs().any(|id| self.returned[id])
            && written.fold(flops, u64::saturating_add) <= LITTLE_WORK
    }

    /// Whether a node computes few integers or truth values from what the host has.
    fn is_shape_work(&self, node: &Node) -> bool {
        let few = |id: &ValueId| {
            let fact = &self.facts[id.index()];
            let whole = fact.as_tensor().is_some_and(|tensor| !tensor.dtype.is_float());
            whole && fact.concrete_shape().is_some_and(|shape| shape.elements() <= FOLDED_ELEMENTS)
        };
        let (inputs, outputs) = (node.inputs.iter().flatten(), node.outputs.iter().flatten());
        inputs.clone().all(|id| !self.on_device[id.index()]) && inputs.chain(outputs).all(few)
    }

    fn input_facts(&self, node: &Node) -> Vec<Option<&Fact>> {
        node.inputs.iter().map(|id| id.map(|id| &self.facts[id.index()])).collect()
    }

    fn infer(&self, node: &Node) -> Result<Vec<Fact>, Error> {
        let facts = self.input_facts(node);
        Ok(node.op.infer(Facts(&facts)).map_err(|source| node.error(&facts, source))?)
    }

    fn set(&mut self, node: &Node, facts: Vec<Fact>) {
        for (output, fact) in node.outputs.iter().zip(facts) {
            if let Some(id) = output {
                self.facts[id.index()] = fact;
            }
        }
    }

    /// Computes a node now if all its inputs are known and small.
    fn fold(&mut self, node: &Node) -> Result<bool, Error> {
        if !node.op.is_pure() || node.op.control().is_some() {
            return Ok(false);
        }
        let known = |id: &Option<ValueId>| match id {
            None => Some(None),
            Some(id) => {
                let value =
                    self.facts[id.index()].value().filter(|tensor| tensor.len() <= FOLDED_ELEMENTS)?;
                Some(Some(Value::Tensor(value.clone())))
            }
        };
        let Some(values) = node.inputs.iter().map(known).collect::<Option<Vec<_>>>() else {
            return Ok(false);
        };
        let inferred = self.infer(node)?;
        let small =
            |fact: &Fact| fact.concrete_shape().is_some_and(|shape| shape.elements() <= FOLDED_ELEMENTS);
        let work = node.op.flops(Facts(&self.input_facts(node)), &inferred);
        if !inferred.iter().all(small) || work > FOLDED_FLOPS {
            return Ok(false);
        }
        let inputs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
        let outputs = evaluate(&*node.op, Inputs(&inputs))
            .map_err(|source| node.error(&self.input_facts(node), source))?;
        let facts = outputs.into_iter().map(|value| match value {
            Value::Tensor(tensor) => Fact::constant(tensor),
            other => Fact::of(&other),
        });
        self.set(node, facts.collect());
        Ok(true)
    }

    fn role(&self, node: &Node, outputs: &[Fact]) -> Role {
        if node.op.control().is_some() {
            return Role::Control;
        }
        let wanted = outputs.iter().zip(&node.outputs).filter(|(_, id)| id.is_some()).map(|(fact, _)| fact);
        if node.op.is_pure() && wanted.clone().all(|fact| fact.value().is_some()) {
            return Role::Folded;
        }
        let inputs = self.input_facts(node);
        let stored_as_bytes = inputs.into_iter().flatten().chain(wanted).all(stored_as_bytes);
        if stored_as_bytes { Role::Region } else { Role::Host }
    }

    /// Inputs whose elements decide the output shapes, and are not known yet.
    fn unknown_elements(&self, node: &Node) -> Vec<ValueId> {
        let candidates =
            node.op.value_inputs().iter().filter_map(|&index| node.inputs.get(index).copied().flatten());
        candidates
            .filter(|id| self.facts[id.index()].as_tensor().is_some_and(|t| t.value.is_none()))
            .collect()
    }

    /// # Errors
    /// The device declines nodes, and it may not.
    fn check_strict(&self) -> Result<(), Error> {
        let devices = &self.program.devices;
        if !devices.strict || devices.host.is_none() {
            return Ok(());
        }
        let mut declined = Vec::new();
        for draft in &self.drafts {
            match draft {
                Draft::Region(_, nodes) => {
                    let reasons = nodes.iter().filter_map(|id| Some((*id, self.declined.get(id)?.clone())));
                    declined.extend(reasons);
                }
                Draft::Host(id) => {
                    declined.push((*id, "strings, sequences and the like are the host's".into()))
                }
                Draft::Control(_) => {}
            }
        }
        if declined.is_empty() {
            return Ok(());
        }
        let placement = |(id, reason)| NodePlacement {
            reason: Some(reason),
            ..host_placement(self.program, id, REFERENCE)
        };
        Err(Error::Declined {
            device: devices.backend.info().id.clone(),
            nodes: declined.into_iter().map(placement).collect(),
        })
    }

    /// Makes the steps of the drafts; nodes from `at` on belong to later stages.
    fn finish(self, at: usize, end: End) -> Result<Stage, Error> {
        let read: &[ValueId] = match &end {
            End::Finish => &[],
            End::Continue { read, .. } => read,
        };
        self.check_strict()?;
        let facts = Arc::new(self.facts);
        let mut steps = Vec::with_capacity(self.drafts.len());
        for draft in &self.drafts {
            steps.push(match draft {
                Draft::Region(place, nodes) => {
                    region(self.program, &facts, *place, (nodes, &self.declined), read)?
                }
                Draft::Host(id) => {
                    self.program.note(*id, host_placement(self.program, *id, REFERENCE));
                    check_memory(self.program, &facts, *id)?;
                    Step::Host(*id)
                }
                Draft::Control(id) => {
                    self.program.note(*id, host_placement(self.program, *id, CONTROL));
                    Step::Control(*id)
                }
            });
        }
        log::debug!("bound {} steps up to node {at} of `{}`", steps.len(), self.program.graph.name);
        let shared = stage::shared(&steps, &self.on_device);
        Ok(Stage {
            steps,
            facts: Arc::unwrap_or_clone(facts),
            on_device: self.on_device,
            returned: self.returned,
            shared,
            end,
        })
    }
}

/// Compiles the nodes of a region: inputs come from outside, outputs are needed outside.
fn region(
    program: &Program,
    facts: &Arc<Vec<Fact>>,
    place: Place,
    (nodes, declined): (&[NodeId], &HashMap<NodeId, String>),
    read: &[ValueId],
) -> Result<Step, Error> {
    let graph = &program.graph;
    let inside: HashSet<NodeId> = nodes.iter().copied().collect();
    let mut produced = HashSet::new();
    let mut inputs = Vec::new();
    let mut outputs = Vec::new();
    let mut seen = HashSet::new();
    for &id in nodes {
        let node = &graph.nodes()[id.0];
        for &value in node.inputs.iter().flatten() {
            let outside = !produced.contains(&value) && facts[value.index()].value().is_none();
            if outside && seen.insert(value) {
                inputs.push(value);
            }
        }
        produced.extend(node.outputs.iter().flatten().copied());
    }
    for &id in nodes {
        for &value in graph.nodes()[id.0].outputs.iter().flatten() {
            let consumed = program.consumers[value.index()].iter().any(|consumer| !inside.contains(consumer));
            if consumed || graph.outputs.contains(&value) || read.contains(&value) {
                outputs.push(value);
            }
        }
    }
    let region =
        Region { graph: Arc::clone(graph), nodes: nodes.to_vec(), facts: Arc::clone(facts), inputs, outputs };
    // Lowering may make tables as long as the outputs, so these must fit before.
    for &id in nodes {
        check_memory(program, facts, id)?;
    }
    let backend = program.devices.at(place);
    let executable = backend.compile(&region)?;
    let leaving: usize =
        region.outputs.iter().map(|id| bytes(&facts[id.index()])).fold(0, usize::saturating_add);
    let needed = executable.workspace_bytes().saturating_add(leaving).saturating_add(backend.weight_bytes());
    if needed > program.limit {
        return Err(Error::OutOfMemory {
            what: "a run with these shapes".into(),
            needed,
            limit: program.limit,
        });
    }
    for (&id, placement) in nodes.iter().zip(executable.placement()) {
        let reason = declined.get(&id).cloned().or_else(|| placement.reason.clone());
        let hosted = (place == Place::Host && reason.is_none()).then_some(SHAPE_WORK);
        program.note(id, NodePlacement { reason, hosted, ..placement.clone() });
    }
    Ok(Step::Region {
        executable,
        place,
        nodes: region.nodes,
        inputs: region.inputs,
        outputs: region.outputs,
    })
}

fn check_memory(program: &Program, facts: &[Fact], id: NodeId) -> Result<(), Error> {
    let node = &program.graph.nodes()[id.0];
    let outputs = node.outputs.iter().flatten().map(|id| bytes(&facts[id.index()]));
    let needed = outputs.fold(0, usize::saturating_add);
    if needed > program.limit {
        return Err(Error::OutOfMemory {
            what: format!("node `{}`", node.name),
            needed,
            limit: program.limit,
        });
    }
    Ok(())
}

/// Why the host runs what a device would take.
const SHAPE_WORK: &str = "arithmetic of shapes, and little work with what the host has read, is the host's";

/// A node that the host runs itself; `kernel` is [`REFERENCE`] or [`CONTROL`].
pub(super) fn host_placement(program: &Program, id: NodeId, kernel: &str) -> NodePlacement {
    let hosted = match kernel {
        CONTROL => "control flow is the host's",
        _ => "strings, sequences and shapes that depend on elements are the host's",
    };
    let node = &program.graph.nodes()[id.0];
    NodePlacement {
        node: node.name.clone(),
        op: node.op.label(),
        device: "cpu".into(),
        kernel: kernel.into(),
        reason: None,
        hosted: program.devices.host.is_some().then_some(hosted),
    }
}

/// Bytes of a tensor of concrete shape; 0 for anything else.
pub(super) fn bytes(fact: &Fact) -> usize {
    let shape = fact.concrete_shape();
    fact.as_tensor()
        .zip(shape)
        .map_or(0, |(tensor, shape)| shape.elements().saturating_mul(tensor.dtype.size()))
}

/// Whether nothing that later shapes need is open: a tensor's shape is known; other values carry no shape.
fn settled(fact: &Fact) -> bool {
    match fact {
        Fact::Tensor(tensor) => tensor.shape.concrete().is_some(),
        Fact::Map { .. } => true,
        Fact::Sequence(_) | Fact::Optional(_) | Fact::Unknown => false,
    }
}

fn stored_as_bytes(fact: &Fact) -> bool {
    fact.as_tensor().is_some_and(|tensor| tensor.dtype != DType::String)
}
