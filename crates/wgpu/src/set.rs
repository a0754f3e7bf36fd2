//! The buffers that one run works in, and what binds them to the dispatches.

use std::collections::HashMap;
use std::sync::Arc;

use inferrum_backend::BackendError;

use crate::gpu::Gpu;
use crate::memory::Memory;
use crate::plan::{Buffer, Fault, Plan, Step};
use crate::staging::Staging;
use crate::tensor::Staged;

/// Bindings of tensors that stay on the device that are kept: two take turns where a state goes from run to run.
const KEPT: usize = 4;

/// Memory from outside for some of a plan's buffers, by their numbers.
pub(crate) type Outside = HashMap<usize, Arc<Memory>>;

/// The buffers of one run, and what binds them. Later runs use them again.
pub(crate) struct Set {
    /// Inputs and outputs are there once a run wanted them here.
    buffers: Vec<Option<wgpu::Buffer>>,
    /// For each step; those that bind inputs and outputs are there once a run wanted them.
    bindings: Vec<Option<wgpu::BindGroup>>,
    /// Bindings of steps to memory from outside.
    foreign: Vec<Foreign>,
    /// What memory from outside earlier runs had. Bindings are kept for what comes a second time.
    seen: Vec<Key>,
    pub(crate) staging: Staging,
    /// For each output the buffer by which the host reads it.
    readbacks: Vec<Option<wgpu::Buffer>>,
    /// What dispatches may tell, all zeros as long as they do not.
    faults: Option<Faults>,
}

/// Words by which dispatches tell of what fails the run, and the buffer by which the host reads them.
struct Faults {
    told: wgpu::Buffer,
    readback: wgpu::Buffer,
}

/// Which memory stands for which buffer.
type Key = Vec<(usize, u64)>;

struct Foreign {
    key: Key,
    bindings: Bindings,
}

/// The bindings of steps to memory from outside, by step.
pub(crate) type Bindings = Arc<HashMap<usize, wgpu::BindGroup>>;

impl Set {
    /// Buffers of a plan, but for its inputs and outputs.
    ///
    /// # Errors
    /// No memory.
    pub(crate) async fn new(gpu: &Gpu, plan: &Plan) -> Result<Set, BackendError> {
        let mut set = Set {
            buffers: vec![None; plan.buffers.len()],
            bindings: vec![None; plan.steps.len()],
            foreign: Vec::new(),
            seen: Vec::new(),
            staging: Staging::default(),
            readbacks: vec![None; plan.outputs.len()],
            faults: None,
        };
        if !plan.faults.is_empty() {
            let bytes = plan.faults.len() * fault_stride(gpu);
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
            let told = gpu.buffer("what kernels tell", bytes, usage).await?;
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let readback = gpu.buffer("what kernels tell", bytes, usage).await?;
            set.faults = Some(Faults { told, readback });
        }
        for index in (0..plan.buffers.len()).filter(|&index| !plan.is_end(index)) {
            set.allocate(gpu, plan, index).await?;
        }
        Ok(set)
    }

    async fn allocate(&mut self, gpu: &Gpu, plan: &Plan, index: usize) -> Result<(), BackendError> {
        self.buffers[index] = Some(match &plan.buffers[index] {
            Buffer::Constant(held) => wgpu::Buffer::clone(held),
            Buffer::Own(own) => {
                let usage =
                    wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
                gpu.buffer("a value", own.bytes, usage).await.map_err(|error| own.name(error))?
            }
        });
        Ok(())
    }

    /// The buffer of a number.
    pub(crate) fn buffer<'a>(&'a self, outside: &'a Outside, index: usize) -> Option<&'a wgpu::Buffer> {
        outside.get(&index).map(|memory| memory.buffer()).or(self.buffers[index].as_ref())
    }

    /// Records the copy of what dispatches tell, if any may.
    pub(crate) fn faults(
        &self,
        gpu: &Gpu,
        plan: &Plan,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Option<Staged> {
        let Faults { told, readback } = self.faults.as_ref()?;
        Some(Staged::copy(encoder, told, readback.clone(), plan.faults.len() * fault_stride(gpu)))
    }

    /// The buffer by which the host reads an output.
    ///
    /// # Errors
    /// No memory.
    pub(crate) async fn readback(
        &mut self,
        gpu: &Gpu,
        output: usize,
        bytes: usize,
    ) -> Result<wgpu::Buffer, BackendError> {
        if let Some(buffer) = &self.readbacks[output] {
            return Ok(buffer.clone());
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let buffer = gpu.buffer("an output on its way to the host", bytes, usage).await?;
        self.readbacks[output] = Some(buffer.clone());
        Ok(buffer)
    }

    /// What binds a step's buffers.
    pub(crate) fn bindings<'a>(&'a self, foreign: &'a Bindings, step: usize) -> Option<&'a wgpu::BindGroup> {
        foreign.get(&step).or(self.bindings[step].as_ref())
    }

    /// Makes what a run with this memory from outside still lacks, and gives the bindings of that memory.
    ///
    /// # Errors
    /// No memory.
    pub(crate) async fn bind(
        &mut self,
        gpu: &Gpu,
        plan: &Plan,
        params: &wgpu::Buffer,
        outside: &Outside,
    ) -> Result<Bindings, BackendError> {
        for index in 0..plan.buffers.len() {
            if self.buffers[index].is_none() && !outside.contains_key(&index) {
                self.allocate(gpu, plan, index).await?;
            }
        }
        let is_foreign = |step: &Step| step.buffers.iter().any(|index| outside.contains_key(index));
        let missing = |step: usize| self.bindings[step].is_none() && !is_foreign(&plan.steps[step]);
        let missing: Vec<usize> = (0..plan.steps.len()).filter(|&step| missing(step)).collect();
        for (step, bindings) in self.make(gpu, plan, params, outside, &missing).await? {
            self.bindings[step] = Some(bindings);
        }
        if outside.is_empty() {
            return Ok(Bindings::default());
        }
        let steps: Vec<usize> = (0..plan.steps.len()).filter(|&step| is_foreign(&plan.steps[step])).collect();
        self.foreign(gpu, plan, params, outside, &steps).await
    }

    /// Bindings of steps to memory from outside.
    async fn foreign(
        &mut self,
        gpu: &Gpu,
        plan: &Plan,
        params: &wgpu::Buffer,
        outside: &Outside,
        steps: &[usize],
    ) -> Result<Bindings, BackendError> {
        let mut key: Key = outside.iter().map(|(&index, memory)| (index, memory.number())).collect();
        key.sort_unstable();
        if let Some(known) = self.foreign.iter().find(|foreign| foreign.key == key) {
            return Ok(Arc::clone(&known.bindings));
        }
        let bindings = Arc::new(self.make(gpu, plan, params, outside, steps).await?);
        // Bindings hold their buffers, so they are kept only for memory that takes turns.
        if let Some(place) = self.seen.iter().position(|seen| *seen == key) {
            self.seen.remove(place);
            self.foreign.push(Foreign { key, bindings: Arc::clone(&bindings) });
            let surplus = self.foreign.len().saturating_sub(KEPT);
            self.foreign.drain(..surplus);
        } else {
            self.seen.push(key);
            let surplus = self.seen.len().saturating_sub(2 * KEPT);
            self.seen.drain(..surplus);
        }
        Ok(bindings)
    }

    async fn make(
        &self,
        gpu: &Gpu,
        plan: &Plan,
        params: &wgpu::Buffer,
        outside: &Outside,
        steps: &[usize],
    ) -> Result<HashMap<usize, wgpu::BindGroup>, BackendError> {
        if steps.is_empty() {
            return Ok(HashMap::new());
        }
        let bind =
            |&step: &usize| self.binding(gpu, plan, params, outside, step).map(|bindings| (step, bindings));
        let make = || steps.iter().map(bind).collect::<Option<_>>();
        let made = gpu.scoped("bindings of kernels", 0, make).await?;
        made.ok_or_else(|| BackendError::Device("a buffer of a kernel is not there".into()))
    }

    fn binding(
        &self,
        gpu: &Gpu,
        plan: &Plan,
        params: &wgpu::Buffer,
        outside: &Outside,
        step: usize,
    ) -> Option<wgpu::BindGroup> {
        let step = &plan.steps[step];
        let mut entries = Vec::with_capacity(step.buffers.len() + 1);
        entries.extend(step.params.map(|(offset, size)| wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: params,
                offset,
                size: std::num::NonZeroU64::new(size),
            }),
        }));
        for (i, &index) in step.buffers.iter().enumerate() {
            let buffer = self.buffer(outside, index)?;
            // Memory has room to spare, of which an adapter may not bind all.
            let size = buffer.size().min(gpu.limits.max_storage_buffer_binding_size / 4 * 4);
            let size = std::num::NonZeroU64::new(size);
            entries.push(wgpu::BindGroupEntry {
                binding: i as u32 + 1,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size }),
            });
        }
        if let Some(fault) = step.fault {
            let size = std::num::NonZeroU64::new(4 * Fault::WORDS as u64);
            let offset = (fault * fault_stride(gpu)) as u64;
            let buffer = &self.faults.as_ref()?.told;
            entries.push(wgpu::BindGroupEntry {
                binding: step.buffers.len() as u32 + 1,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size }),
            });
        }
        Some(gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &step.pipeline.layout,
            entries: &entries,
        }))
    }
}

/// Bytes from what one dispatch tells to what the next one does.
pub(crate) fn fault_stride(gpu: &Gpu) -> usize {
    (4 * Fault::WORDS).max(gpu.limits.min_storage_buffer_offset_alignment as usize)
}
