//! From a region to dispatches over buffers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use inferrum_backend::{BackendError, BoundNode, Decline, DeviceFailure, NodePlacement, Region};
use inferrum_graph::{Fact, ValueId};
use inferrum_tensor::Tensor;

use crate::backend::Shared;
use crate::kernel::{Lowered, Operand, Work};
use crate::pipelines::Key;
use crate::plan::{Buffer, Fault, Output, Own, Plan, Step, parts, work};
use crate::storage;
use crate::weights;

/// A dispatch whose pipeline is not made yet.
struct Draft {
    key: Key,
    params: Option<(u64, u64)>,
    buffers: Vec<usize>,
    fault: Option<usize>,
    groups: [u32; 3],
    node: usize,
}

/// Builds a plan, node by node.
struct Planner<'a> {
    shared: &'a Shared,
    region: &'a Region,
    /// Values whose buffers are theirs alone, for they may be memory from outside.
    leaving: HashSet<ValueId>,
    buffers: Vec<Buffer>,
    /// The buffer of each value that has one.
    of: HashMap<ValueId, usize>,
    /// How many reads of each buffer are still to come; it is free at 0.
    pending: Vec<usize>,
    /// Buffers of a run's own that nobody needs any more.
    free: Vec<usize>,
    drafts: Vec<Draft>,
    params: Vec<u32>,
    faults: Vec<Fault>,
}

/// A plan for a region whose nodes were all claimed; `lower` gives their kernels.
///
/// # Errors
/// No memory, or the driver refuses a shader.
pub(crate) async fn compile(
    shared: &Shared,
    region: &Region,
    lower: impl Fn(&BoundNode<'_>) -> Result<Lowered, Decline>,
) -> Result<Plan, BackendError> {
    let mut lowered = Vec::with_capacity(region.nodes.len());
    for &id in &region.nodes {
        let bound = region.bound(id);
        let declined = |decline| BackendError::Device(format!("`{}`: {decline}", bound.node.name));
        lowered.push(lower(&bound).map_err(declined)?);
    }
    let mut planner = Planner {
        shared,
        region,
        leaving: leaving(region, &lowered),
        buffers: Vec::new(),
        of: HashMap::new(),
        pending: Vec::new(),
        free: Vec::new(),
        drafts: Vec::new(),
        params: Vec::new(),
        faults: Vec::new(),
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
    // Inputs are written before all dispatches, so no other value may stand there before.
    for &value in &region.inputs {
        let own = planner.own(value, "");
        let buffer = planner.lasting(own);
        planner.of.insert(value, buffer);
    }
    let inputs: Vec<Option<usize>> =
        region.inputs.iter().map(|value| planner.of.get(value).copied()).collect();
    let mut placement = Vec::with_capacity(region.nodes.len());
    for (index, (&id, lowered)) in region.nodes.iter().zip(lowered).enumerate() {
        let bound = region.bound(id);
        let (kernel, work) = match lowered {
            Lowered::View => ("view".to_owned(), None),
            Lowered::Work(work) => (work.name.clone(), Some(work)),
        };
        placement.push(NodePlacement {
            node: bound.node.name.clone(),
            op: bound.node.op.label(),
            device: shared.info.id.clone(),
            kernel,
            reason: None,
            hosted: None,
        });
        match work {
            None => planner.view(&bound, &reads).await?,
            Some(work) => planner.work(index, &bound, work, &reads).await?,
        }
    }
    let mut outputs = Vec::with_capacity(region.outputs.len());
    for &value in &region.outputs {
        outputs.push(planner.output(value).await?);
    }
    planner.finish(inputs, outputs, placement)
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
        let shape = fact.concrete_shape();
        let tensor = fact.as_tensor().zip(shape);
        tensor.map_or(0, |(tensor, shape)| {
            shape.elements().saturating_mul(storage::element_bytes(tensor.dtype))
        })
    }

    /// A value's memory, for the node that computes it.
    fn own(&self, value: ValueId, node: &str) -> Own {
        let name = self.region.graph.value(value).name.clone();
        Own { bytes: self.bytes(value), value: name, node: node.to_owned() }
    }

    /// A buffer that no other value gets.
    fn lasting(&mut self, own: Own) -> usize {
        self.buffers.push(Buffer::Own(own));
        self.pending.push(usize::MAX);
        self.buffers.len() - 1
    }

    /// The buffer of a value that is read by `node`; a constant gets its buffer here.
    async fn read(&mut self, value: ValueId, node: &str) -> Result<usize, BackendError> {
        if let Some(&buffer) = self.of.get(&value) {
            return Ok(buffer);
        }
        let Some(constant) = self.fact(value).value().cloned() else {
            let name = &self.region.graph.value(value).name;
            return Err(BackendError::Device(format!("value `{name}` comes from nowhere")));
        };
        let own = self.own(value, node);
        let buffer = self.constant(&constant, None).await.map_err(|error| own.name(error))?;
        self.of.insert(value, buffer);
        Ok(buffer)
    }

    async fn constant(
        &mut self,
        tensor: &Tensor,
        packing: Option<(&str, &crate::kernel::Pack)>,
    ) -> Result<usize, BackendError> {
        let held = self.shared.weights.get(&self.shared.gpu, tensor, packing).await?;
        self.buffers.push(Buffer::Constant(held));
        self.pending.push(usize::MAX);
        Ok(self.buffers.len() - 1)
    }

    /// A buffer of words that belong to this plan alone.
    async fn table(&mut self, words: &[u32]) -> Result<usize, BackendError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let bytes: &[u8] = bytemuck::cast_slice(words);
        let buffer = self.shared.gpu.buffer("a table", bytes.len(), usage).await?;
        weights::write(&self.shared.gpu, &buffer, bytes).await?;
        self.buffers.push(Buffer::Constant(Arc::new(buffer)));
        self.pending.push(usize::MAX);
        Ok(self.buffers.len() - 1)
    }

    /// A buffer of a run's own with room for a value: the smallest free one that is large enough, else the largest, which
    /// grows.
    fn take(&mut self, own: Own) -> usize {
        let size = |buffer: usize| match &self.buffers[buffer] {
            Buffer::Own(own) => own.bytes,
            Buffer::Constant(_) => 0,
        };
        let fitting = (0..self.free.len())
            .filter(|&i| size(self.free[i]) >= own.bytes)
            .min_by_key(|&i| size(self.free[i]));
        let place = fitting.or_else(|| (0..self.free.len()).max_by_key(|&i| size(self.free[i])));
        match place {
            Some(place) => {
                let buffer = self.free.swap_remove(place);
                if size(buffer) < own.bytes {
                    self.buffers[buffer] = Buffer::Own(own);
                }
                buffer
            }
            None => {
                self.buffers.push(Buffer::Own(own));
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
    async fn view(
        &mut self,
        bound: &BoundNode<'_>,
        reads: &HashMap<ValueId, usize>,
    ) -> Result<(), BackendError> {
        let (Some(Some(input)), Some(Some(output))) = (bound.node.inputs.first(), bound.node.outputs.first())
        else {
            return Ok(());
        };
        let buffer = self.read(*input, &bound.node.name).await?;
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

    async fn work(
        &mut self,
        index: usize,
        bound: &BoundNode<'_>,
        work: Work,
        reads: &HashMap<ValueId, usize>,
    ) -> Result<(), BackendError> {
        let node = bound.node;
        let mut unread = Vec::new();
        for &output in node.outputs.iter().flatten() {
            let own = self.own(output, &node.name);
            if self.leaving.contains(&output) {
                let buffer = self.lasting(own);
                self.of.insert(output, buffer);
                continue;
            }
            let buffer = self.take(own);
            self.of.insert(output, buffer);
            self.pending[buffer] = reads.get(&output).copied().unwrap_or(0);
            unread.extend((self.pending[buffer] == 0).then_some(buffer));
        }
        let own =
            |&bytes: &usize| Own { bytes, value: "intermediate values".into(), node: node.name.clone() };
        let scratch: Vec<usize> = work.scratch.iter().map(|bytes| self.take(own(bytes))).collect();
        for dispatch in work.dispatches {
            if dispatch.groups.contains(&0) {
                continue;
            }
            let written = dispatch.operands.iter().map(Operand::is_written).collect();
            let mut buffers = Vec::with_capacity(dispatch.operands.len());
            let mut fault = None;
            for operand in &dispatch.operands {
                buffers.push(match operand {
                    Operand::Input(place) => {
                        self.read(value(&node.inputs, *place, node)?, &node.name).await?
                    }
                    Operand::Output(place) => {
                        self.read(value(&node.outputs, *place, node)?, &node.name).await?
                    }
                    Operand::Scratch(place) | Operand::ReadScratch(place) => scratch[*place],
                    Operand::Table(words) => self.table(words).await.map_err(|error| own(&0).name(error))?,
                    Operand::Fault(input, wrong) => {
                        fault = Some(self.faults.len());
                        let facts = bound.inputs.iter().map(|fact| fact.cloned()).collect();
                        self.faults.push(Fault { node: node.clone(), input: *input, wrong: *wrong, facts });
                        continue;
                    }
                    Operand::Packed(packing) => {
                        let of = bound.constant(packing.input).ok_or_else(|| {
                            BackendError::Device(format!(
                                "`{}`: input {} is no constant",
                                node.name, packing.input
                            ))
                        })?;
                        let held = self.constant(of, Some((&packing.form, &*packing.pack))).await;
                        let input = value(&node.inputs, packing.input, node)?;
                        held.map_err(|error| self.own(input, &node.name).name(error))?
                    }
                });
            }
            let params = self.add_params(&dispatch.params);
            let key = Key { shader: dispatch.shader, params: params.is_some(), written };
            self.drafts.push(Draft { key, params, buffers, fault, groups: dispatch.groups, node: index });
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

    async fn output(&mut self, value: ValueId) -> Result<Output, BackendError> {
        let buffer = self.read(value, "").await?;
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
        let pipelines = self.shared.pipelines.get(&self.shared.gpu, &keys);
        let pipelines = pipelines.map_err(|error| self.refused(error, &placement))?;
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
                fault: draft.fault,
                groups: draft.groups,
                node: draft.node,
                flops: if first { bound.flops() } else { 0 },
                bytes: if first { bound.bytes() } else { 0 },
                shape: bound.output_shape(0).map(|shape| shape.to_string()).unwrap_or_default(),
            }
        });
        let steps: Vec<Step> = steps.collect();
        let mut ends = vec![false; self.buffers.len()];
        inputs.iter().flatten().for_each(|&buffer| ends[buffer] = true);
        outputs.iter().for_each(|output| ends[output.buffer] = true);
        let works: Vec<u64> = steps.iter().map(|step| work(step.flops, step.bytes)).collect();
        let (whole, parts) = parts(&works, self.shared.gpu.kind == wgpu::DeviceType::Cpu);
        Ok(Plan {
            steps,
            buffers: self.buffers,
            inputs,
            outputs,
            placement,
            params: self.params,
            whole,
            parts,
            faults: self.faults,
            ends,
        })
    }

    /// Finds the node whose shader the driver refuses.
    fn refused(&self, error: BackendError, placement: &[NodePlacement]) -> BackendError {
        let (shared, gpu) = (self.shared, &self.shared.gpu);
        let refused = |draft: &&Draft| shared.pipelines.get(gpu, std::slice::from_ref(&draft.key)).is_err();
        match (&error, self.drafts.iter().find(refused)) {
            (BackendError::Device(reason), Some(draft)) => DeviceFailure::Kernel {
                node: placement[draft.node].node.clone(),
                op: placement[draft.node].op.clone(),
                device: gpu.id.to_string(),
                reason: reason.clone(),
            }
            .into(),
            _ => error,
        }
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
