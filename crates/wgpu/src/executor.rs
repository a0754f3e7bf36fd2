//! Runs a plan.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inferrum_backend::{
    BackendError, Destination, Executable, NodePlacement, Profile, Resident, RunContext, Span,
};

use crate::backend::Shared;
use crate::compile::{Buffer, Plan};
use crate::tensor::{Staged, WgpuTensor};
use crate::timestamps::Timestamps;
use crate::{storage, weights};

/// Bytes of sets of buffers that a plan keeps for later runs.
const KEPT_SETS: usize = 4;

/// A plan with what it needs to run.
pub(crate) struct WgpuExecutable {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plan: Plan,
    params: wgpu::Buffer,
    /// Buffers of runs that are over.
    idle: Mutex<Vec<Set>>,
}

/// The buffers of one run, and what binds them.
struct Set {
    buffers: Vec<wgpu::Buffer>,
    bindings: Vec<wgpu::BindGroup>,
}

impl WgpuExecutable {
    /// # Errors
    /// No memory.
    pub(crate) fn new(shared: Arc<Shared>, plan: Plan) -> Result<WgpuExecutable, BackendError> {
        let bytes: &[u8] = bytemuck::cast_slice(&plan.params);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = shared.gpu.buffer("parameters of kernels", bytes.len().max(16), usage)?;
        weights::write(&shared.gpu, &params, bytes);
        let executable = WgpuExecutable { shared, plan, params, idle: Mutex::default() };
        // The first run finds its memory there, or the model is refused before it.
        let set = executable.set()?;
        executable.give_back(set);
        Ok(executable)
    }

    fn set(&self) -> Result<Set, BackendError> {
        let idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        if let Some(set) = idle {
            return Ok(set);
        }
        let gpu = &self.shared.gpu;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let buffers = self
            .plan
            .buffers
            .iter()
            .map(|buffer| match buffer {
                Buffer::Constant(held) => Ok(wgpu::Buffer::clone(held)),
                Buffer::Own(bytes) => gpu.buffer("intermediate values", *bytes, usage),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let bindings = gpu.guarded("bindings of kernels", 0, || self.bindings(&buffers))?;
        Ok(Set { buffers, bindings })
    }

    fn bindings(&self, buffers: &[wgpu::Buffer]) -> Vec<wgpu::BindGroup> {
        let bind = |step: &crate::compile::Step| {
            let params = step.params.map(|(offset, size)| wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.params,
                    offset,
                    size: std::num::NonZeroU64::new(size),
                }),
            });
            let storage = step.buffers.iter().enumerate().map(|(i, &buffer)| wgpu::BindGroupEntry {
                binding: i as u32 + 1,
                resource: buffers[buffer].as_entire_binding(),
            });
            let entries: Vec<_> = params.into_iter().chain(storage).collect();
            self.shared.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &step.pipeline.layout,
                entries: &entries,
            })
        };
        self.plan.steps.iter().map(bind).collect()
    }

    fn give_back(&self, set: Set) {
        let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if idle.len() < KEPT_SETS {
            idle.push(set);
        }
    }

    /// Puts the inputs where the dispatches read them.
    fn upload(
        &self,
        inputs: &[Resident],
        set: &Set,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<(), BackendError> {
        for (input, place) in inputs.iter().zip(&self.plan.inputs) {
            let Some(place) = place else { continue };
            let buffer = &set.buffers[*place];
            if let Some(tensor) = input.on::<WgpuTensor>(&self.shared.info.id)
                && Arc::ptr_eq(&tensor.gpu, &self.shared.gpu)
            {
                let bytes = (tensor.bytes() as u64).next_multiple_of(4);
                if bytes > 0 {
                    encoder.copy_buffer_to_buffer(&tensor.buffer, 0, buffer, 0, bytes);
                }
                continue;
            }
            let tensor = input.to_host()?;
            let wide = storage::widened(&tensor).map_err(|error| BackendError::Device(error.to_string()))?;
            let bytes = wide.as_deref().map_or(tensor.bytes(), bytemuck::cast_slice);
            weights::write(&self.shared.gpu, buffer, bytes);
        }
        Ok(())
    }

    /// Records the dispatches: in one pass, or in a pass each where their times are wanted.
    fn record(&self, set: &Set, encoder: &mut wgpu::CommandEncoder, times: Option<&Timestamps>) {
        let steps = || self.plan.steps.iter().zip(&set.bindings).enumerate();
        let dispatch =
            |pass: &mut wgpu::ComputePass<'_>, step: &crate::compile::Step, binding: &wgpu::BindGroup| {
                pass.set_pipeline(&step.pipeline.pipeline);
                pass.set_bind_group(0, binding, &[]);
                pass.dispatch_workgroups(step.groups[0], step.groups[1], step.groups[2]);
            };
        match times {
            None => {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                steps().for_each(|(_, (step, binding))| dispatch(&mut pass, step, binding));
            }
            Some(times) => {
                for (index, (step, binding)) in steps() {
                    let mut pass = encoder.begin_compute_pass(&times.pass(index));
                    dispatch(&mut pass, step, binding);
                }
                times.resolve(encoder);
            }
        }
    }

    /// How long the dispatches take, on memory that holds anything: the best of a few submissions, each of as many repetitions as
    /// make it longer than what submitting takes.
    ///
    /// # Errors
    /// The device fails.
    pub(crate) fn time(&self) -> Result<Duration, BackendError> {
        const ROUNDS: usize = 3;
        const LONG: Duration = Duration::from_millis(2);
        let gpu = &self.shared.gpu;
        let set = self.set()?;
        let submit = |repetitions: u32| {
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            (0..repetitions).for_each(|_| self.record(&set, &mut encoder, None));
            let start = Instant::now();
            gpu.queue.submit([encoder.finish()]);
            gpu.wait()?;
            Ok::<_, BackendError>(start.elapsed())
        };
        // The first submission also pays for what the driver does once.
        submit(1)?;
        let once = submit(1)?;
        if once >= 10 * LONG {
            return Ok(once);
        }
        let repetitions = (LONG.as_secs_f64() / once.as_secs_f64().max(1e-6)).ceil() as u32;
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            best = best.min(submit(repetitions)? / repetitions);
        }
        Ok(best)
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

/// How an output gets to where it is wanted.
enum Way<'a> {
    /// It stays in the device's memory.
    Stay(WgpuTensor),
    /// It becomes a tensor on the host.
    Host(Staged),
    /// It goes to the caller's memory.
    Caller(Staged, &'a mut [u8]),
}

impl Executable for WgpuExecutable {
    fn run(
        &self,
        inputs: &[Resident],
        destinations: Vec<Destination<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Option<Resident>>, BackendError> {
        context.check()?;
        let gpu = &self.shared.gpu;
        gpu.check()?;
        let set = self.set()?;
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.upload(inputs, &set, &mut encoder)?;
        let profile = context.profile;
        let times = profile.and_then(|_| Timestamps::new(gpu, self.plan.steps.len()));
        self.record(&set, &mut encoder, times.as_ref());
        let mut ways = Vec::with_capacity(self.plan.outputs.len());
        let mut destinations = destinations.into_iter();
        for output in &self.plan.outputs {
            let from = &set.buffers[output.buffer];
            let bytes = output.shape.elements() * storage::element_bytes(output.dtype);
            ways.push(match destinations.next().unwrap_or_default() {
                Destination::Stay => Way::Stay(self.stay(&mut encoder, from, output, bytes)?),
                Destination::Fresh | Destination::Reuse(_) => {
                    Way::Host(Staged::copy(gpu, &mut encoder, from, bytes)?)
                }
                Destination::Caller(memory) => {
                    Way::Caller(Staged::copy(gpu, &mut encoder, from, bytes)?, memory)
                }
            });
        }
        let start = profile.map(Profile::now);
        gpu.queue.submit([encoder.finish()]);
        let awaited = ways.iter().any(|way| !matches!(way, Way::Stay(_)));
        for way in &ways {
            if let Way::Host(staged) | Way::Caller(staged, _) = way {
                staged.map();
            }
        }
        if let (Some(profile), Some(start), Some(times)) = (profile, start, &times) {
            self.spans(profile, start, &times.read(gpu)?);
        } else if awaited {
            gpu.wait()?;
        }
        self.give_back(set);
        ways.into_iter().zip(&self.plan.outputs).map(|(way, output)| finish(way, output)).collect()
    }

    fn workspace_bytes(&self) -> usize {
        let own = |buffer: &Buffer| match buffer {
            Buffer::Own(bytes) => *bytes,
            Buffer::Constant(_) => 0,
        };
        self.plan.buffers.iter().map(own).fold(0, usize::saturating_add)
    }

    fn placement(&self) -> &[NodePlacement] {
        &self.plan.placement
    }
}

impl WgpuExecutable {
    /// A copy of an output that outlives the run.
    fn stay(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Buffer,
        output: &crate::compile::Output,
        bytes: usize,
    ) -> Result<WgpuTensor, BackendError> {
        let gpu = &self.shared.gpu;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let buffer = gpu.buffer("an output", bytes, usage)?;
        if bytes > 0 {
            encoder.copy_buffer_to_buffer(from, 0, &buffer, 0, (bytes as u64).next_multiple_of(4));
        }
        Ok(WgpuTensor {
            gpu: Arc::clone(gpu),
            device: self.shared.info.id.as_str().into(),
            buffer,
            dtype: output.dtype,
            shape: output.shape.clone(),
        })
    }
}

fn finish(way: Way<'_>, output: &crate::compile::Output) -> Result<Option<Resident>, BackendError> {
    match way {
        Way::Stay(tensor) => Ok(Some(Resident::Device(Arc::new(tensor)))),
        Way::Host(staged) => {
            staged.read(output.dtype, &output.shape).map(|tensor| Some(Resident::Host(tensor)))
        }
        Way::Caller(staged, memory) => {
            let tensor = staged.read(output.dtype, &output.shape)?;
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
