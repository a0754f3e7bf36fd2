//! Runs a plan.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inferrum_backend::{
    BackendError, Destination, Executable, NodePlacement, Profile, Resident, RunContext, Span,
};
use inferrum_tensor::{DType, Shape, Tensor};

use crate::backend::Shared;
use crate::gpu::Submitted;
use crate::memory::Memory;
use crate::plan::{Buffer, Fault, Output, Plan};
use crate::set::{Bindings, Outside, Set, fault_stride};
use crate::tensor::{Arriving, Staged, WgpuTensor};
use crate::timestamps::Timestamps;
use crate::{edge, staging, storage, weights};

/// Sets of buffers that a plan keeps for later runs.
const KEPT_SETS: usize = 4;

/// A plan with what it needs to run.
pub(crate) struct WgpuExecutable {
    shared: Arc<Shared>,
    plan: Plan,
    params: wgpu::Buffer,
    /// Sets of runs that are over.
    idle: Mutex<Vec<Set>>,
}

/// An input as a run finds it.
enum Source<'a> {
    /// In the host's memory.
    Host(Tensor),
    /// Here.
    Resident(&'a WgpuTensor),
}

/// How an output gets to where it is wanted.
enum Way<'a> {
    /// It stays in the device's memory.
    Stay(Arc<Memory>),
    /// It becomes a tensor on the host.
    Host(Staged),
    /// It goes to the caller's memory.
    Caller(Staged, &'a mut [u8]),
}

impl WgpuExecutable {
    /// # Errors
    /// No memory.
    pub(crate) async fn new(shared: Arc<Shared>, plan: Plan) -> Result<WgpuExecutable, BackendError> {
        let bytes: &[u8] = bytemuck::cast_slice(&plan.params);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = shared.gpu.buffer("parameters of kernels", bytes.len().max(16), usage).await?;
        weights::write(&shared.gpu, &params, bytes).await?;
        let executable = WgpuExecutable { shared, plan, params, idle: Mutex::default() };
        // The first run finds its memory there, or the model is refused before it.
        let set = Set::new(&executable.shared.gpu, &executable.plan).await?;
        executable.give_back(set);
        Ok(executable)
    }

    fn idle_set(&self) -> Option<Set> {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()
    }

    fn give_back(&self, set: Set) {
        let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if idle.len() < KEPT_SETS {
            idle.push(set);
        }
    }

    async fn run(
        &self,
        inputs: &[Resident],
        destinations: Vec<Destination<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Option<Resident>>, BackendError> {
        context.check()?;
        self.shared.gpu.check()?;
        let mut set = match self.idle_set() {
            Some(set) => set,
            None => Set::new(&self.shared.gpu, &self.plan).await?,
        };
        let result = self.run_in(&mut set, inputs, destinations, context).await;
        // What failed elsewhere may have left a buffer mapped.
        let sound = match &result {
            Ok(_) => true,
            // What is on its way may still tell of a fault.
            Err(BackendError::Stopped(_)) => self.plan.faults.is_empty(),
            Err(_) => false,
        };
        if sound {
            self.give_back(set);
        }
        result.map_err(|error| self.plan.during(error, 0..self.plan.steps.len()))
    }

    async fn run_in(
        &self,
        set: &mut Set,
        inputs: &[Resident],
        destinations: Vec<Destination<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Option<Resident>>, BackendError> {
        let gpu = &self.shared.gpu;
        let sources = self.sources(inputs)?;
        let mut outside = self.outside(&sources);
        let mut destinations = destinations;
        destinations.resize_with(self.plan.outputs.len(), Destination::default);
        self.homes(&destinations, &mut outside).await?;
        let foreign = set.bind(gpu, &self.plan, &self.params, &outside).await?;
        let mut encoder = self.encoder();
        self.upload(&sources, set, &outside, &mut encoder).await?;
        set.staging.finish();
        let times = match context.profile {
            Some(_) => Timestamps::new(gpu, self.plan.steps.len()).await,
            None => None,
        };
        // Without a clock of the GPU's, each dispatch is waited for.
        let mut waited = Vec::new();
        let waits = context.profile.is_some() && times.is_none();
        let start = context.profile.map(Profile::now);
        let mut ways = Vec::with_capacity(destinations.len());
        let mut flight: Option<Submitted> = None;
        let mut told = None;
        let parts = if waits {
            (0..self.plan.steps.len().max(1)).map(|step| step..step + 1).collect()
        } else {
            self.parts(context)
        };
        let begin = Instant::now();
        for (number, part) in parts.iter().enumerate() {
            self.record(set, &foreign, &mut encoder, times.as_ref(), part.clone());
            if number + 1 == parts.len() {
                if let Some(times) = &times {
                    times.resolve(&mut encoder);
                }
                for (place, destination) in std::mem::take(&mut destinations).into_iter().enumerate() {
                    ways.push(self.way(place, destination, set, &outside, &mut encoder).await?);
                }
            }
            if number + 1 == parts.len() {
                told = set.faults(gpu, &self.plan, &mut encoder);
            }
            let recorded = std::mem::replace(&mut encoder, self.encoder());
            let from = begin.elapsed();
            let submitted = gpu.submit(recorded.finish());
            if number == 0 {
                set.staging.recall();
            }
            if waits {
                gpu.done(submitted).await?;
                context.check()?;
                waited.push((from, begin.elapsed() - from));
                continue;
            }
            // One part is always on its way while the next one is recorded.
            if let Some(before) = flight.replace(submitted) {
                gpu.done(before).await?;
                context.check()?;
            }
        }
        let arriving: Vec<(Kept<'_>, &Output)> =
            ways.into_iter().map(Way::map).zip(&self.plan.outputs).collect();
        if let (Some(profile), Some(start)) = (context.profile, start) {
            let times = match times {
                Some(times) => times.read(gpu).await?,
                None => waited,
            };
            self.spans(profile, start, &times);
        }
        if let Some(told) = told {
            self.faults(told).await?;
        }
        let mut results = Vec::with_capacity(arriving.len());
        for (kept, output) in arriving {
            results.push(self.finish(kept, output).await?);
        }
        gpu.check()?;
        Ok(results)
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.shared.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Where the inputs are; what another device holds comes to the host.
    fn sources<'a>(&self, inputs: &'a [Resident]) -> Result<Vec<Source<'a>>, BackendError> {
        let source = |input: &'a Resident| match self.shared.held(input) {
            Some(tensor) => Ok(Source::Resident(tensor)),
            None => input.to_host().map(Source::Host),
        };
        inputs.iter().map(source).collect()
    }

    /// The memory of inputs that are here already: it is bound as it is, for no dispatch writes an input.
    fn outside(&self, sources: &[Source<'_>]) -> Outside {
        let resident = |(source, place): (&Source<'_>, &Option<usize>)| match source {
            Source::Resident(tensor) => Some(((*place)?, Arc::clone(&tensor.memory))),
            Source::Host(_) => None,
        };
        sources.iter().zip(&self.plan.inputs).filter_map(resident).collect()
    }

    /// Gives outputs that stay memory of their own, in which they are computed. An output that is an input under another shape
    /// shares its memory.
    async fn homes(
        &self,
        destinations: &[Destination<'_>],
        outside: &mut Outside,
    ) -> Result<(), BackendError> {
        for (destination, output) in destinations.iter().zip(&self.plan.outputs) {
            let stays = matches!(destination, Destination::Stay);
            if let (true, Buffer::Own(own)) = (stays, &self.plan.buffers[output.buffer])
                && !outside.contains_key(&output.buffer)
            {
                let memory = Memory::take(&self.shared.gpu, own.bytes).await.map_err(|e| own.name(e))?;
                outside.insert(output.buffer, Arc::new(memory));
            }
        }
        Ok(())
    }

    /// Puts the inputs where the dispatches read them.
    async fn upload(
        &self,
        sources: &[Source<'_>],
        set: &mut Set,
        outside: &Outside,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<(), BackendError> {
        let room = |(source, place): (&Source<'_>, &Option<usize>)| match (source, place) {
            (Source::Host(tensor), Some(_)) => {
                staging::room(tensor.len() * storage::element_bytes(tensor.dtype()))
            }
            _ => 0,
        };
        let mut coming: usize = sources.iter().zip(&self.plan.inputs).map(room).sum();
        for (source, place) in sources.iter().zip(&self.plan.inputs) {
            coming -= room((source, place));
            let (Source::Host(tensor), Some(place)) = (source, *place) else { continue };
            let Some(buffer) = set.buffer(outside, place).cloned() else { continue };
            let wide = storage::widened(tensor).map_err(|error| BackendError::Device(error.to_string()))?;
            let bytes = wide.as_deref().map_or(tensor.bytes(), bytemuck::cast_slice);
            set.staging.upload(&self.shared.gpu, encoder, bytes, &buffer, coming).await?;
        }
        Ok(())
    }

    /// What is submitted at once: all that the device may be given, or less where the run may be stopped between.
    fn parts(&self, context: &RunContext<'_>) -> Vec<Range<usize>> {
        let parts = if context.stop.is_some() { &self.plan.parts } else { &self.plan.whole };
        // Inputs are written and outputs read though there be no steps.
        if parts.is_empty() { std::iter::once(0..0).collect() } else { parts.clone() }
    }

    /// Records dispatches: in one pass, or in a pass each where their times are wanted.
    fn record(
        &self,
        set: &Set,
        foreign: &Bindings,
        encoder: &mut wgpu::CommandEncoder,
        times: Option<&Timestamps>,
        part: Range<usize>,
    ) {
        let dispatch = |pass: &mut wgpu::ComputePass<'_>, index: usize| {
            let step = &self.plan.steps[index];
            pass.set_pipeline(&step.pipeline.pipeline);
            pass.set_bind_group(0, set.bindings(foreign, index), &[]);
            pass.dispatch_workgroups(step.groups[0], step.groups[1], step.groups[2]);
        };
        match times {
            None => {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                part.for_each(|index| dispatch(&mut pass, index));
            }
            Some(times) => {
                for index in part {
                    let mut pass = encoder.begin_compute_pass(&times.pass(index));
                    dispatch(&mut pass, index);
                }
            }
        }
    }

    /// Records how an output gets to where it is wanted.
    async fn way<'a>(
        &self,
        place: usize,
        destination: Destination<'a>,
        set: &mut Set,
        outside: &Outside,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<Way<'a>, BackendError> {
        let gpu = &self.shared.gpu;
        let output = &self.plan.outputs[place];
        let bytes = output.shape.elements() * storage::element_bytes(output.dtype);
        if let (Destination::Stay, Some(memory)) = (&destination, outside.get(&output.buffer)) {
            return Ok(Way::Stay(Arc::clone(memory)));
        }
        let from = set.buffer(outside, output.buffer).cloned();
        let from = from.ok_or_else(|| BackendError::Device("an output's buffer is not there".into()))?;
        if matches!(destination, Destination::Stay) {
            // A constant.
            let memory = Memory::take(gpu, bytes).await?;
            encoder.copy_buffer_to_buffer(&from, 0, memory.buffer(), 0, (bytes as u64).next_multiple_of(4));
            return Ok(Way::Stay(Arc::new(memory)));
        }
        let to = set.readback(gpu, place, bytes).await?;
        let staged = Staged::copy(encoder, &from, to, bytes);
        Ok(match destination {
            Destination::Caller(memory) => Way::Caller(staged, memory),
            Destination::Stay | Destination::Fresh | Destination::Reuse(_) => Way::Host(staged),
        })
    }

    /// An error if a dispatch told of one; that of the first node.
    async fn faults(&self, told: Staged) -> Result<(), BackendError> {
        let gpu = &self.shared.gpu;
        let stride = fault_stride(gpu) / 4;
        let words = Shape::from([self.plan.faults.len() * stride]);
        let told = told.map().read(gpu, DType::U32, &words).await?;
        let told = told.as_slice::<u32>().map_err(|error| BackendError::Device(error.to_string()))?;
        let words = told.chunks(stride).map(|words| &words[..Fault::WORDS]);
        let first = self.plan.faults.iter().zip(words).find_map(|(fault, words)| fault.error(words));
        first.map_or(Ok(()), Err)
    }

    async fn finish(&self, kept: Kept<'_>, output: &Output) -> Result<Option<Resident>, BackendError> {
        let gpu = &self.shared.gpu;
        match kept {
            Kept::Stay(memory) => Ok(Some(Resident::Device(Arc::new(WgpuTensor {
                gpu: Arc::clone(gpu),
                memory,
                dtype: output.dtype,
                shape: output.shape.clone(),
            })))),
            Kept::Host(arriving) => arriving
                .read(gpu, output.dtype, &output.shape)
                .await
                .map(|tensor| Some(Resident::Host(tensor))),
            Kept::Caller(arriving, memory) => {
                let tensor = arriving.read(gpu, output.dtype, &output.shape).await?;
                let (expected, got) = (tensor.bytes().len(), memory.len());
                if expected != got {
                    return Err(BackendError::Device(format!(
                        "an output of {expected} bytes got memory of {got}"
                    )));
                }
                memory.copy_from_slice(tensor.bytes());
                Ok(None)
            }
        }
    }

    fn spans(&self, profile: &Profile, start: Duration, times: &[(Duration, Duration)]) {
        for (step, &(from, duration)) in self.plan.steps.iter().zip(times) {
            let placement = &self.plan.placement[step.node];
            profile.record(Span {
                node: placement.node.clone(),
                op: placement.op.clone(),
                kernel: placement.kernel.clone(),
                start: start + from,
                duration,
                flops: step.flops,
                bytes: step.bytes,
                shape: step.shape.clone(),
            });
        }
    }
}

/// An output of a run that is submitted.
enum Kept<'a> {
    Stay(Arc<Memory>),
    Host(Arriving),
    Caller(Arriving, &'a mut [u8]),
}

impl<'a> Way<'a> {
    /// Asks for what the host wants.
    fn map(self) -> Kept<'a> {
        match self {
            Way::Stay(memory) => Kept::Stay(memory),
            Way::Host(staged) => Kept::Host(staged.map()),
            Way::Caller(staged, memory) => Kept::Caller(staged.map(), memory),
        }
    }
}

impl Executable for WgpuExecutable {
    fn run(
        &self,
        inputs: &[Resident],
        destinations: Vec<Destination<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Option<Resident>>, BackendError> {
        edge::wait(WgpuExecutable::run(self, inputs, destinations, context))
    }

    fn workspace_bytes(&self) -> usize {
        let own = |buffer: &Buffer| match buffer {
            Buffer::Own(own) => own.bytes,
            Buffer::Constant(_) => 0,
        };
        self.plan.buffers.iter().map(own).fold(0, usize::saturating_add)
    }

    fn placement(&self) -> &[NodePlacement] {
        &self.plan.placement
    }
}

#[cfg(test)]
mod tests;
