//! From a region to dispatches over buffers.

use std::collections::HashMap;
use std::sync::Arc;

use inferrum_backend::{BackendError, BoundNode, NodePlacement, Region};
use inferrum_graph::{Fact, ValueId};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::backend::Shared;
use crate::kernel::{Lowered, Operand, Work};
use crate::lower::lower;
use crate::pipelines::{Key, Pipeline};
use crate::storage;
use crate::tuner::Choose;
use crate::weights;

/// A compiled region: dispatches in order, over numbered buffers.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) buffers: Vec<Buffer>,
    /// For each region input its buffer; None if nothing reads it.
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) placement: Vec<NodePlacement>,
    /// Parameters of all dispatches, each at its offset.
    pub(crate) params: Vec<u32>,
}

/// A dispatch.
pub(crate) struct Step {
    pub(crate) pipeline: Arc<Pipeline>,
    /// Where its parameters are: offset and length in bytes.
    pub(crate) params: Option<(u64, u64)>,
    /// The buffers from binding 1 on.
    pub(crate) buffers: Vec<usize>,
    pub(crate) groups: [u32; 3],
    /// Place in [`Plan::placement`].
    pub(crate) node: usize,
    pub(crate) flops: u64,
    pub(crate) bytes: u64,
    pub(crate) shape: String,
}

/// Memory of one or several values, one after the other.
pub(crate) enum Buffer {
    /// Held for every run.
    Constant(Arc<wgpu::Buffer>),
    /// As many bytes of a run's own.
    Own(usize),
}

/// A value that leaves the region.
pub(crate) struct Output {
    pub(crate) buffer: usize,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
}

/// A dispatch whose pipeline is not made yet.
struct Draft {
    key: Key,
    params: Option<(u64, u64)>,
    buffers: Vec<usize>,
    groups: [u32; 3],
    node: usize,
}

/// Builds a plan, node by node.
struct Planner<'a> {
    shared: &'a Shared,
    region: &'a Region,
    buffers: Vec<Buffer>,
    /// The buffer of each value that has one.
    of: HashMap<ValueId, usize>,
    /// How many reads of each buffer are still to come; it is free at 0.
    pending: Vec<usize>,
    /// Buffers of a run's own that nobody needs any more.
    free: Vec<usize>,
    drafts: Vec<Draft>,
    params: Vec<u32>,
}

/// A plan for a region whose nodes were all claimed.
///
/// # Errors
/// No memory, or the driver refuses a shader.
pub(crate) fn compile(shared: &Shared, region: &Region, chooser: &dyn Choose) -> Result<Plan, BackendError> {
    let mut planner = Planner {
        shared,
        region,
        buffers: Vec::new(),
        of: HashMap::new(),
        pending: Vec::new(),
        free: Vec::new(),
        drafts: Vec::new(),
        params: Vec::new(),
    };
    let mut reads: HashMap<ValueId, usize> = HashMap::new();
    for &id in &region.nodes {
        region.graph.nodes()[id.0]
            .inputs
            .iter()
            .flatten()
            .for_each(|&value| *reads.entry(value).or_default() += 1);
    }
    // What leaves the region stays to its end.
    region.outputs.iter().for_each(|&value| *reads.entry(value).or_default() += 1);
    for &value in &region.inputs {
        let bytes = planner.bytes(value);
        planner.of.insert(value, planner.buffers.len());
        planner.buffers.push(Buffer::Own(bytes));
        // Inputs are written before all dispatches, so no other value may stand there before.
        planner.pending.push(usize::MAX);
    }
    let inputs: Vec<Option<usize>> =
        region.inputs.iter().map(|value| planner.of.get(value).copied()).collect();
    let mut placement = Vec::with_capacity(region.nodes.len());
    for (index, &id) in region.nodes.iter().enumerate() {
        let bound = region.bound(id);
        let (kernel, lowered) = match lower(&bound, &shared.gpu.abilities, chooser) {
            Ok(Lowered::View) => ("view".to_owned(), None),
            Ok(Lowered::Work(work)) => (work.name.clone(), Some(work)),
            Err(decline) => return Err(BackendError::Device(format!("`{}`: {decline}", bound.node.name))),
        };
        placement.push(NodePlacement {
            node: bound.node.name.clone(),
            op: bound.node.op.label(),
            device: shared.info.id.clone(),
            kernel,
            reason: None,
        });
        match lowered {
            None => planner.view(&bound, &reads)?,
            Some(work) => planner.work(index, &bound, work, &reads)?,
        }
    }
    let outputs = region.outputs.iter().map(|&value| planner.output(value)).collect::<Result<_, _>>()?;
    planner.finish(inputs, outputs, placement)
}

impl Planner<'_> {
    fn fact(&self, value: ValueId) -> &Fact {
        &self.region.facts[value.index()]
    }

    fn bytes(&self, value: ValueId) -> usize {
        let fact = self.fact(value);
        let shape = fact.concrete_shape();
        let tensor = fact.as_tensor().zip(shape);
        tensor.map_or(0, |(tensor, shape)| {
            shape.elements().saturating_mul(storage::element_bytes(tensor.dtype))
        })
    }

    /// The buffer of a value that is read; a constant gets its buffer here.
    fn read(&mut self, value: ValueId) -> Result<usize, BackendError> {
        if let Some(&buffer) = self.of.get(&value) {
            return Ok(buffer);
        }
        let Some(constant) = self.fact(value).value().cloned() else {
            let name = &self.region.graph.value(value).name;
            return Err(BackendError::Device(format!("value `{name}` comes from nowhere")));
        };
        let buffer = self.constant(&constant, None)?;
        self.of.insert(value, buffer);
        Ok(buffer)
    }

    fn constant(
        &mut self,
        tensor: &Tensor,
        packing: Option<(&str, &crate::kernel::Pack)>,
    ) -> Result<usize, BackendError> {
        let held = self.shared.weights.get(&self.shared.gpu, tensor, packing)?;
        self.buffers.push(Buffer::Constant(held));
        self.pending.push(usize::MAX);
        Ok(self.buffers.len() - 1)
    }

    /// A buffer of words that belong to this plan alone.
    fn table(&mut self, words: &[u32]) -> Result<usize, BackendError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let bytes: &[u8] = bytemuck::cast_slice(words);
        let buffer = self.shared.gpu.buffer("a table", bytes.len(), usage)?;
        weights::write(&self.shared.gpu, &buffer, bytes);
        self.buffers.push(Buffer::Constant(Arc::new(buffer)));
        self.pending.push(usize::MAX);
        Ok(self.buffers.len() - 1)
    }

    /// A buffer of a run's own with room for `bytes`: the smallest free one that is large enough, else the largest, which
    /// grows.
    fn take(&mut self, bytes: usize) -> usize {
        let size = |buffer: usize| match self.buffers[buffer] {
            Buffer::Own(size) => size,
            Buffer::Constant(_) => 0,
        };
        let fitting =
            (0..self.free.len()).filter(|&i| size(self.free[i]) >= bytes).min_by_key(|&i| size(self.free[i]));
        let place = fitting.or_else(|| (0..self.free.len()).max_by_key(|&i| size(self.free[i])));
        match place {
            Some(place) => {
                let buffer = self.free.swap_remove(place);
                self.buffers[buffer] = Buffer::Own(size(buffer).max(bytes));
                buffer
            }
            None => {
                self.buffers.push(Buffer::Own(bytes));
                self.pending.push(0);
                self.buffers.len() - 1
            }
        }
    }

    /// One read of a buffer is done.
    fn release(&mut self, buffer: usize) {
        let pending = &mut self.pending[buffer];
        if *pending != usize::MAX {
            *pending = pending.saturating_sub(1);
            if *pending == 0 {
                self.free.push(buffer);
            }
        }
    }

    /// The first output is the first input.
    fn view(&mut self, bound: &BoundNode<'_>, reads: &HashMap<ValueId, usize>) -> Result<(), BackendError> {
        let (Some(Some(input)), Some(Some(output))) = (bound.node.inputs.first(), bound.node.outputs.first())
        else {
            return Ok(());
        };
        let buffer = self.read(*input)?;
        self.of.insert(*output, buffer);
        if self.pending[buffer] != usize::MAX {
            self.pending[buffer] += reads.get(output).copied().unwrap_or(0);
        }
        self.release_inputs(bound);
        Ok(())
    }

    fn release_inputs(&mut self, bound: &BoundNode<'_>) {
        for value in bound.node.inputs.iter().flatten() {
            if let Some(&buffer) = self.of.get(value) {
                self.release(buffer);
            }
        }
    }

    fn work(
        &mut self,
        index: usize,
        bound: &BoundNode<'_>,
        work: Work,
        reads: &HashMap<ValueId, usize>,
    ) -> Result<(), BackendError> {
        let node = bound.node;
        let mut unread = Vec::new();
        for &output in node.outputs.iter().flatten() {
            let buffer = self.take(self.bytes(output));
            self.of.insert(output, buffer);
            self.pending[buffer] = reads.get(&output).copied().unwrap_or(0);
            unread.extend((self.pending[buffer] == 0).then_some(buffer));
        }
        let scratch: Vec<usize> = work.scratch.iter().map(|&bytes| self.take(bytes)).collect();
        for dispatch in work.dispatches {
            if dispatch.groups.contains(&0) {
                continue;
            }
            let written = dispatch.operands.iter().map(Operand::is_written).collect();
            let mut buffers = Vec::with_capacity(dispatch.operands.len());
            for operand in &dispatch.operands {
                buffers.push(match operand {
                    Operand::Input(place) => self.read(value(&node.inputs, *place, node)?)?,
                    Operand::Output(place) => self.read(value(&node.outputs, *place, node)?)?,
                    Operand::Scratch(place) | Operand::ReadScratch(place) => scratch[*place],
                    Operand::Table(words) => self.table(words)?,
                    Operand::Packed(packing) => {
                        let of = bound.constant(packing.input).ok_or_else(|| {
                            BackendError::Device(format!(
                                "`{}`: input {} is no constant",
                                node.name, packing.input
                            ))
                        })?;
                        self.constant(of, Some((&packing.form, &*packing.pack)))?
                    }
                });
            }
            let params = self.add_params(&dispatch.params);
            let key = Key { shader: dispatch.shader, params: params.is_some(), written };
            self.drafts.push(Draft { key, params, buffers, groups: dispatch.groups, node: index });
        }
        self.release_inputs(bound);
        self.free.extend(scratch);
        self.free.extend(unread);
        Ok(())
    }

    fn add_params(&mut self, words: &[u32]) -> Option<(u64, u64)> {
        if words.is_empty() {
            return None;
        }
        let alignment = self.shared.gpu.limits.min_uniform_buffer_offset_alignment.max(16) as usize / 4;
        let start = self.params.len().next_multiple_of(alignment);
        let len = words.len().next_multiple_of(4);
        self.params.resize(start + len, 0);
        self.params[start..start + words.len()].copy_from_slice(words);
        Some((4 * start as u64, 4 * len as u64))
    }

    fn output(&mut self, value: ValueId) -> Result<Output, BackendError> {
        let buffer = self.read(value)?;
        match (self.fact(value).as_tensor(), self.fact(value).concrete_shape()) {
            (Some(tensor), Some(shape)) => Ok(Output { buffer, dtype: tensor.dtype, shape }),
            _ => Err(BackendError::Device("an output has no concrete shape".into())),
        }
    }

    fn finish(
        self,
        inputs: Vec<Option<usize>>,
        outputs: Vec<Output>,
        placement: Vec<NodePlacement>,
    ) -> Result<Plan, BackendError> {
        let keys: Vec<Key> = self.drafts.iter().map(|draft| draft.key.clone()).collect();
        let pipelines = self.shared.pipelines.get(&self.shared.gpu, &keys)?;
        let mut last = usize::MAX;
        let steps = self.drafts.into_iter().zip(pipelines).map(|(draft, pipeline)| {
            let bound = self.region.bound(self.region.nodes[draft.node]);
            // A node's work counts once.
            let first = last != draft.node;
            last = draft.node;
            Step {
                pipeline,
                params: draft.params,
                buffers: draft.buffers,
                groups: draft.groups,
                node: draft.node,
                flops: if first { bound.flops() } else { 0 },
                bytes: if first { bound.bytes() } else { 0 },
                shape: bound.output_shape(0).map(|shape| shape.to_string()).unwrap_or_default(),
            }
        });
        let steps = steps.collect();
        Ok(Plan { steps, buffers: self.buffers, inputs, outputs, placement, params: self.params })
    }
}

fn value(
    values: &[Option<ValueId>],
    place: usize,
    node: &inferrum_graph::Node,
) -> Result<ValueId, BackendError> {
    values.get(place).copied().flatten().ok_or_else(|| {
        BackendError::Device(format!(
            "`{}`: the kernel asks for value {place}, which is not there",
            node.name
        ))
    })
}
