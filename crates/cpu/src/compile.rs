//! From a region to steps over buffers.

use std::collections::HashMap;

use inferrum_backend::{BackendError, BoundNode, Lifetime, NodePlacement, Region, place};
use inferrum_graph::{Fact, ValueId};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::kernel::{Lowered, NodeKernel};

/// Alignment of every buffer: a cache line, which is also the widest vector.
const ALIGNMENT: usize = 64;

/// A compiled region: steps in order, over planned buffers.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) outputs: Vec<Slot>,
    pub(crate) arena_bytes: usize,
    pub(crate) placement: Vec<NodePlacement>,
}

/// One kernel with its values.
pub(crate) struct Step {
    pub(crate) kernel: Box<dyn NodeKernel>,
    /// Place in [`Plan::placement`], for names.
    pub(crate) node: usize,
    pub(crate) inputs: Vec<Option<Slot>>,
    pub(crate) outputs: Vec<Option<Slot>>,
    pub(crate) scratch: Option<usize>,
    pub(crate) flops: u64,
    pub(crate) bytes: u64,
    /// What the node takes, for errors.
    pub(crate) facts: String,
}

/// A value: a buffer under a type and shape.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) buffer: usize,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
}

/// Memory for one or several values.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: usize,
    /// What the address must be a multiple of, for the widest element that stands here.
    pub(crate) alignment: usize,
    pub(crate) source: Source,
}

/// Where a buffer is.
#[derive(Debug)]
pub(crate) enum Source {
    /// The memory of a region input.
    Input(usize),
    /// The memory of a constant.
    Constant(Tensor),
    /// Memory that leaves the region.
    Output,
    /// A place in the arena.
    Arena(usize),
}

/// Builds a plan, value by value.
struct Planner<'a> {
    region: &'a Region,
    buffers: Vec<Buffer>,
    lifetimes: Vec<Lifetime>,
    /// The buffer of each value that has one.
    of: HashMap<ValueId, usize>,
    last_use: HashMap<ValueId, usize>,
}

/// A plan for `region`; `lower` makes the kernel of each node.
pub(crate) fn compile(
    region: &Region,
    lower: impl Fn(&BoundNode<'_>) -> (Lowered, Option<String>),
) -> Result<Plan, BackendError> {
    let mut planner = Planner::new(region);
    let mut steps = Vec::with_capacity(region.nodes.len());
    let mut placement = Vec::with_capacity(region.nodes.len());
    for (time, &id) in region.nodes.iter().enumerate() {
        let bound = region.bound(id);
        let (lowered, reason) = lower(&bound);
        placement.push(NodePlacement {
            node: bound.node.name.clone(),
            op: bound.node.op.label(),
            device: "cpu".into(),
            kernel: lowered.name.clone(),
            reason,
            hosted: None,
        });
        if let Some(step) = planner.step(time, &bound, lowered)? {
            steps.push(step);
        }
    }
    let outputs = region.outputs.iter().map(|&value| planner.slot(value)).collect::<Result<_, _>>()?;
    let arena_bytes = planner.place();
    Ok(Plan { steps, buffers: planner.buffers, outputs, arena_bytes, placement })
}

impl<'a> Planner<'a> {
    fn new(region: &'a Region) -> Planner<'a> {
        let mut last_use = HashMap::new();
        for (time, &id) in region.nodes.iter().enumerate() {
            for &value in region.graph.nodes()[id.0].inputs.iter().flatten() {
                last_use.insert(value, time);
            }
        }
        for &value in &region.outputs {
            last_use.insert(value, usize::MAX);
        }
        let mut planner =
            Planner { region, buffers: Vec::new(), lifetimes: Vec::new(), of: HashMap::new(), last_use };
        for (index, &value) in region.inputs.iter().enumerate() {
            planner.add(value, Source::Input(index), 0);
        }
        planner
    }

    /// A new buffer for a value.
    fn add(&mut self, value: ValueId, source: Source, time: usize) -> usize {
        let bytes = fact_bytes(&self.region.facts[value.index()]);
        let buffer = self.add_buffer(bytes, source, time, self.last_use.get(&value).copied().unwrap_or(time));
        self.of.insert(value, buffer);
        buffer
    }

    fn add_buffer(&mut self, bytes: usize, source: Source, first: usize, last: usize) -> usize {
        self.buffers.push(Buffer { bytes, alignment: 1, source });
        self.lifetimes.push(Lifetime { bytes, first, last });
        self.buffers.len() - 1
    }

    /// A value as its buffer under type and shape; a constant gets its buffer here.
    fn slot(&mut self, value: ValueId) -> Result<Slot, BackendError> {
        let fact = &self.region.facts[value.index()];
        let (Some(tensor), Some(shape)) = (fact.as_tensor(), fact.concrete_shape()) else {
            let name = &self.region.graph.value(value).name;
            return Err(BackendError::Device(format!("value `{name}` has no concrete shape: {fact}")));
        };
        let buffer = match (self.of.get(&value), &tensor.value) {
            (Some(&buffer), _) => buffer,
            (None, Some(constant)) => self.add(value, Source::Constant(constant.clone()), 0),
            (None, None) => {
                let name = &self.region.graph.value(value).name;
                return Err(BackendError::Device(format!("value `{name}` comes from nowhere")));
            }
        };
        let alignment = &mut self.buffers[buffer].alignment;
        *alignment = (*alignment).max(tensor.dtype.size().clamp(1, 8));
        Ok(Slot { buffer, dtype: tensor.dtype, shape })
    }

    fn step(
        &mut self,
        time: usize,
        bound: &BoundNode<'_>,
        lowered: Lowered,
    ) -> Result<Option<Step>, BackendError> {
        let node = bound.node;
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (index, input) in node.inputs.iter().enumerate() {
            let read = input.filter(|_| !lowered.packed.contains(&index));
            inputs.push(read.map(|value| self.slot(value)).transpose()?);
        }
        let first_output = node.outputs.first().copied().flatten();
        let shared = match &lowered.kernel {
            None => inputs.first().cloned().flatten().map(|slot| (0, slot.buffer)),
            Some(_) => first_output.and_then(|output| self.reusable(time, node, &inputs, &lowered, output)),
        };
        if let (Some((index, buffer)), Some(output)) = (shared, first_output) {
            self.of.insert(output, buffer);
            let last = self.last_use.get(&output).copied().unwrap_or(time);
            self.lifetimes[buffer].last = self.lifetimes[buffer].last.max(last);
            if lowered.kernel.is_some() {
                inputs[index] = None;
            }
        }
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for &output in &node.outputs {
            if let Some(value) = output.filter(|value| !self.of.contains_key(value)) {
                self.add(value, Source::Arena(0), time);
            }
            outputs.push(output.map(|value| self.slot(value)).transpose()?);
        }
        let Some(kernel) = lowered.kernel else { return Ok(None) };
        let scratch =
            (lowered.scratch > 0).then(|| self.add_buffer(lowered.scratch, Source::Arena(0), time, time));
        let facts: Vec<String> =
            bound.inputs.iter().map(|fact| fact.map_or("-".into(), Fact::to_string)).collect();
        Ok(Some(Step {
            kernel,
            node: time,
            inputs,
            outputs,
            scratch,
            flops: bound.flops(),
            bytes: bound.bytes(),
            facts: format!("({})", facts.join(", ")),
        }))
    }

    /// The input, and its buffer, in whose place the first output may be written: it is ours, ends here, is read through
    /// one input only, and has the output's size.
    fn reusable(
        &self,
        time: usize,
        node: &inferrum_graph::Node,
        inputs: &[Option<Slot>],
        lowered: &Lowered,
        output: ValueId,
    ) -> Option<(usize, usize)> {
        let bytes = fact_bytes(&self.region.facts[output.index()]);
        lowered.in_place.iter().copied().find_map(|index| {
            let buffer = inputs.get(index)?.as_ref()?.buffer;
            node.inputs.get(index)?.as_ref()?;
            let once = inputs.iter().flatten().filter(|slot| slot.buffer == buffer).count() == 1;
            let ours = matches!(self.buffers[buffer].source, Source::Arena(_));
            let ends = self.lifetimes[buffer].last == time;
            (once && ours && ends && self.buffers[buffer].bytes == bytes).then_some((index, buffer))
        })
    }

    /// Places the arena's buffers; those that leave the region become memory of their own.
    fn place(&mut self) -> usize {
        for value in &self.region.outputs {
            if let Some(&buffer) = self.of.get(value)
                && matches!(self.buffers[buffer].source, Source::Arena(_))
            {
                self.buffers[buffer].source = Source::Output;
            }
        }
        let arena: Vec<usize> =
            (0..self.buffers.len()).filter(|&i| matches!(self.buffers[i].source, Source::Arena(_))).collect();
        let lifetimes: Vec<Lifetime> = arena.iter().map(|&i| self.lifetimes[i]).collect();
        let (offsets, total) = place(&lifetimes, ALIGNMENT);
        for (&buffer, offset) in arena.iter().zip(offsets) {
            self.buffers[buffer].source = Source::Arena(offset);
        }
        total
    }
}

fn fact_bytes(fact: &Fact) -> usize {
    let shape = fact.concrete_shape();
    fact.as_tensor()
        .zip(shape)
        .map_or(0, |(tensor, shape)| shape.elements().saturating_mul(tensor.dtype.size()))
}
