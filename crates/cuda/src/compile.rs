//! From a region to launches over memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use inferrum_backend::{BackendError, BoundNode, Decline, Lifetime, NodePlacement, Region, place};
use inferrum_graph::{Fact, Node, ValueId};
use inferrum_tensor::Tensor;

use crate::backend::Shared;
use crate::driver::{ALIGNMENT, Argument};
use crate::kernel::{Kernel, Lowered, Multiplication, Operand, Pack, Work};
use crate::library::Prepared;
use crate::memory::Memory;
use crate::plan::{Action, Fault, Output, Own, Parameter, Place, Plan, Step, parts};
use crate::source::Source;
use crate::transfer;

/// What the placement says of products that a library computes.
pub(crate) const LIBRARY: &str = "library";

/// A step whose function is not loaded yet.
struct Draft {
    action: Unloaded,
    node: usize,
}

enum Unloaded {
    Launch(Box<Kernel>, Vec<Parameter>),
    Multiply(Arc<dyn Prepared>, [Option<usize>; 6]),
}

/// Memory that is being planned.
enum Room {
    Constant(Arc<Memory>),
    Arena(Lifetime),
    End(Own),
}

/// Builds a plan, node by node.
struct Planner<'a> {
    shared: &'a Shared,
    region: &'a Region,
    /// Values whose memory is theirs alone, for it may come from outside.
    leaving: HashSet<ValueId>,
    rooms: Vec<Room>,
    /// The place of each value that has one.
    of: HashMap<ValueId, usize>,
    drafts: Vec<Draft>,
    faults: Vec<Fault>,
    /// The largest value of the arena.
    largest: Own,
}

/// A plan for a region whose nodes were all claimed.
///
/// # Errors
/// No memory, or a kernel is refused.
pub(crate) fn compile(shared: &Shared, region: &Region) -> Result<Plan, BackendError> {
    let mut lowered = Vec::with_capacity(region.nodes.len());
    for &id in &region.nodes {
        let bound = region.bound(id);
        let declined = |decline: Decline| BackendError::Device(format!("`{}`: {decline}", bound.node.name));
        lowered.push(shared.lower(&bound).map_err(declined)?);
    }
    let mut planner = Planner {
        shared,
        region,
        leaving: leaving(region, &lowered),
        rooms: Vec::new(),
        of: HashMap::new(),
        drafts: Vec::new(),
        faults: Vec::new(),
        largest: Own::default(),
    };
    for &value in &region.inputs {
        let own = planner.own(value, "");
        let place = planner.room(Room::End(own));
        planner.of.insert(value, place);
    }
    let mut placement = Vec::with_capacity(region.nodes.len());
    for (index, (&id, lowered)) in region.nodes.iter().zip(lowered).enumerate() {
        let bound = region.bound(id);
        let (kernel, work) = match lowered {
            Lowered::View => ("view".to_owned(), None),
            Lowered::Work(work) => (work.name.clone(), Some(work)),
        };
        let by_library = match work {
            None => {
                planner.view(index, &bound)?;
                false
            }
            Some(work) => planner.work(index, &bound, work)?,
        };
        placement.push(NodePlacement {
            node: bound.node.name.clone(),
            op: bound.node.op.label(),
            device: shared.info.id.clone(),
            kernel: if by_library { LIBRARY.to_owned() } else { kernel },
            reason: None,
            hosted: None,
        });
    }
    let outputs = region.outputs.iter().map(|&value| planner.output(value)).collect::<Result<Vec<_>, _>>()?;
    planner.finish(outputs, placement)
}

/// The region's outputs, and values that are outputs under another shape.
fn leaving(region: &Region, lowered: &[Lowered]) -> HashSet<ValueId> {
    let mut leaving: HashSet<ValueId> = region.outputs.iter().copied().collect();
    for (&id, lowered) in region.nodes.iter().zip(lowered).rev() {
        let node = &region.graph.nodes()[id.0];
        if let (Lowered::View, Some(Some(input)), Some(Some(output))) =
            (lowered, node.inputs.first(), node.outputs.first())
            && leaving.contains(output)
        {
            leaving.insert(*input);
        }
    }
    leaving
}

impl Planner<'_> {
    fn fact(&self, value: ValueId) -> &Fact {
        &self.region.facts[value.index()]
    }

    fn bytes(&self, value: ValueId) -> usize {
        let fact = self.fact(value);
        let tensor = fact.as_tensor().zip(fact.concrete_shape());
        tensor.map_or(0, |(tensor, shape)| shape.elements().saturating_mul(tensor.dtype.size()))
    }

    /// A value's memory, for the node that computes it.
    fn own(&self, value: ValueId, node: &str) -> Own {
        let name = self.region.graph.value(value).name.clone();
        Own { bytes: self.bytes(value), value: name, node: node.to_owned() }
    }

    fn room(&mut self, room: Room) -> usize {
        self.rooms.push(room);
        self.rooms.len() - 1
    }

    /// The place of a value that node number `index` reads; a constant gets its memory here.
    fn read(&mut self, value: ValueId, index: usize, node: &str) -> Result<usize, BackendError> {
        if let Some(&place) = self.of.get(&value) {
            if let Room::Arena(lifetime) = &mut self.rooms[place] {
                lifetime.last = lifetime.last.max(index);
            }
            return Ok(place);
        }
        let Some(constant) = self.fact(value).value().cloned() else {
            let name = &self.region.graph.value(value).name;
            return Err(BackendError::Device(format!("value `{name}` comes from nowhere")));
        };
        let place = self.constant(&constant, value, node, None)?;
        self.of.insert(value, place);
        Ok(place)
    }

    fn constant(
        &mut self,
        tensor: &Tensor,
        value: ValueId,
        node: &str,
        packing: Option<(&str, &Pack)>,
    ) -> Result<usize, BackendError> {
        let held = self.shared.weights.get(&self.shared.driver, tensor, packing);
        let held = held.map_err(|error| self.own(value, node).name(error))?;
        Ok(self.room(Room::Constant(held)))
    }

    /// Memory for what a node computes.
    fn written(&mut self, value: ValueId, index: usize, node: &str) -> usize {
        let own = self.own(value, node);
        let room = if self.leaving.contains(&value) {
            Room::End(own)
        } else {
            let bytes = own.bytes;
            if bytes > self.largest.bytes {
                self.largest = own;
            }
            Room::Arena(Lifetime { bytes, first: index, last: index })
        };
        let place = self.room(room);
        self.of.insert(value, place);
        place
    }

    /// The first output is the first input.
    fn view(&mut self, index: usize, bound: &BoundNode<'_>) -> Result<(), BackendError> {
        if let (Some(Some(input)), Some(Some(output))) =
            (bound.node.inputs.first(), bound.node.outputs.first())
        {
            let place = self.read(*input, index, &bound.node.name)?;
            self.of.insert(*output, place);
        }
        Ok(())
    }

    /// Plans what a node does; whether a library does it.
    fn work(&mut self, index: usize, bound: &BoundNode<'_>, work: Work) -> Result<bool, BackendError> {
        let node = bound.node;
        if let Some(multiplication) = &work.library
            && let Some(product) = self.shared.driver.product(&multiplication.product)?
        {
            self.multiply(index, bound, multiplication, product)?;
            return Ok(true);
        }
        let scratch: Vec<usize> = work
            .scratch
            .iter()
            .map(|&bytes| self.room(Room::Arena(Lifetime { bytes, first: index, last: index })))
            .collect();
        for &value in node.outputs.iter().flatten() {
            self.written(value, index, &node.name);
        }
        for mut kernel in work.kernels {
            let operands = std::mem::take(&mut kernel.operands);
            let mut parameters = Vec::with_capacity(operands.len());
            for operand in operands {
                parameters.push(self.parameter(operand, index, bound, &scratch)?);
            }
            self.drafts.push(Draft { action: Unloaded::Launch(Box::new(kernel), parameters), node: index });
        }
        Ok(false)
    }

    fn multiply(
        &mut self,
        index: usize,
        bound: &BoundNode<'_>,
        multiplication: &Multiplication,
        product: Arc<dyn Prepared>,
    ) -> Result<(), BackendError> {
        for &value in bound.node.outputs.iter().flatten() {
            self.written(value, index, &bound.node.name);
        }
        let workspace = match product.workspace() {
            0 => None,
            bytes => Some(self.room(Room::Arena(Lifetime { bytes, first: index, last: index }))),
        };
        let Multiplication { a, b, c, bias, d, .. } = multiplication;
        let mut at = [None; 6];
        for (place, operand) in at.iter_mut().zip([a, b, c, bias, d]) {
            if let Parameter::At(room) = self.parameter(operand.clone(), index, bound, &[])? {
                *place = Some(room);
            }
        }
        at[5] = workspace;
        self.drafts.push(Draft { action: Unloaded::Multiply(product, at), node: index });
        Ok(())
    }

    fn parameter(
        &mut self,
        operand: Operand,
        index: usize,
        bound: &BoundNode<'_>,
        scratch: &[usize],
    ) -> Result<Parameter, BackendError> {
        let node = bound.node;
        Ok(match operand {
            Operand::Input(place) => {
                Parameter::At(self.read(value(&node.inputs, place, node)?, index, &node.name)?)
            }
            Operand::Output(place) => {
                let value = value(&node.outputs, place, node)?;
                let written = self.of.get(&value).copied();
                Parameter::At(written.ok_or_else(|| missing(place, node))?)
            }
            Operand::Scratch(place) => {
                Parameter::At(scratch.get(place).copied().ok_or_else(|| missing(place, node))?)
            }
            Operand::Packed(packing) => {
                let of = bound.constant(packing.input).ok_or_else(|| {
                    BackendError::Device(format!("`{}`: input {} is no constant", node.name, packing.input))
                })?;
                let input = value(&node.inputs, packing.input, node)?;
                let packed = Some((packing.form.as_str(), &*packing.pack));
                Parameter::At(self.constant(of, input, &node.name, packed)?)
            }
            Operand::Table(bytes) => {
                let memory = Memory::take(&self.shared.driver, bytes.len())?;
                transfer::upload(&self.shared.driver, memory.address(), &bytes)?;
                Parameter::At(self.room(Room::Constant(Arc::new(memory))))
            }
            Operand::Fault(input) => {
                let facts = bound.inputs.iter().map(|fact| fact.cloned()).collect();
                self.faults.push(Fault { node: node.clone(), input, facts });
                Parameter::Fault(self.faults.len() - 1)
            }
            Operand::Nothing => Parameter::Value(Argument::value(&0u64)),
            Operand::Value(argument) => Parameter::Value(argument),
        })
    }

    fn output(&mut self, value: ValueId) -> Result<Output, BackendError> {
        let place = self.read(value, self.region.nodes.len(), "")?;
        match (self.fact(value).as_tensor(), self.fact(value).concrete_shape()) {
            (Some(tensor), Some(shape)) => Ok(Output { place, dtype: tensor.dtype, shape }),
            _ => Err(BackendError::Device("an output has no concrete shape".into())),
        }
    }

    fn finish(self, outputs: Vec<Output>, placement: Vec<NodePlacement>) -> Result<Plan, BackendError> {
        let inputs = self.region.inputs.iter().map(|value| self.of.get(value).copied()).collect();
        let source = |draft: &'_ Draft| match &draft.action {
            Unloaded::Launch(kernel, _) => Some(kernel.source.clone()),
            Unloaded::Multiply(..) => None,
        };
        let sources: Vec<Source> = self.drafts.iter().filter_map(source).collect();
        let sources: Vec<&Source> = sources.iter().collect();
        let mut functions = self.shared.functions.get(&*self.shared.driver, &sources).into_iter();
        let mut steps: Vec<Step> = Vec::with_capacity(self.drafts.len());
        for draft in self.drafts {
            let bound = self.region.bound(self.region.nodes[draft.node]);
            let action = match draft.action {
                Unloaded::Multiply(product, at) => Action::Multiply { product, at },
                Unloaded::Launch(kernel, parameters) => {
                    let missing = || Err(BackendError::Device("a kernel was not loaded".into()));
                    let function = functions.next().unwrap_or_else(missing);
                    let function =
                        function.map_err(|error| self.shared.refused(error, &placement[draft.node]))?;
                    let Kernel { grid, block, shared, .. } = *kernel;
                    Action::Launch { function, parameters, grid, block, shared }
                }
            };
            // A node's work counts once.
            let first = steps.last().is_none_or(|last| last.node != draft.node);
            steps.push(Step {
                action,
                node: draft.node,
                flops: if first { bound.flops() } else { 0 },
                bytes: if first { bound.bytes() } else { 0 },
                shape: bound.output_shape(0).map(|shape| shape.to_string()).unwrap_or_default(),
            });
        }
        let lifetimes: Vec<Lifetime> = self.rooms.iter().filter_map(Room::lifetime).collect();
        let (offsets, arena_bytes) = place(&lifetimes, ALIGNMENT);
        let mut offsets = offsets.into_iter();
        let places = self.rooms.into_iter().map(|room| match room {
            Room::Constant(memory) => Place::Constant(memory),
            Room::Arena(_) => Place::Arena(offsets.next().unwrap_or_default()),
            Room::End(own) => Place::End(own),
        });
        let arena = Own { bytes: arena_bytes, ..self.largest };
        let (places, parts) = (places.collect(), parts(&steps));
        Ok(Plan { steps, places, inputs, outputs, placement, arena, faults: self.faults, parts })
    }
}

impl Room {
    fn lifetime(&self) -> Option<Lifetime> {
        match self {
            Room::Arena(lifetime) => Some(*lifetime),
            Room::Constant(_) | Room::End(_) => None,
        }
    }
}

fn value(values: &[Option<ValueId>], place: usize, node: &Node) -> Result<ValueId, BackendError> {
    values.get(place).copied().flatten().ok_or_else(|| missing(place, node))
}

fn missing(place: usize, node: &Node) -> BackendError {
    BackendError::Device(format!("`{}`: the kernel asks for value {place}, which is not there", node.name))
}
