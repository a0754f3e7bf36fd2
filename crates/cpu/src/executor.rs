//! Runs a plan. The one place where a plan's offsets become slices.

use std::sync::Arc;

use bytes::Bytes;
use inferrum_backend::{BackendError, Destination, Executable, NodePlacement, Resident, RunContext, Span};
use inferrum_graph::{NodeError, OpError};
use inferrum_tensor::{Tensor, TensorError};

use crate::arena::{Block, Pool};
use crate::compile::{Plan, Slot, Source, Step};
use crate::kernel::{Io, View, ViewMut};
use crate::threads::Threads;

/// A plan with what it needs to run.
pub(crate) struct CpuExecutable {
    pub(crate) plan: Plan,
    pub(crate) threads: Threads,
    pub(crate) pool: Arc<Pool>,
}

/// The memory of what leaves the region, and how each output gets to where it is wanted.
struct Leaving<'a> {
    /// One for each buffer of the plan.
    homes: Vec<Home<'a>>,
    /// One for each output.
    ways: Vec<Way<'a>>,
}

/// Memory of a buffer that leaves the region.
#[derive(Default)]
enum Home<'a> {
    /// The buffer is in the arena, an input or a constant.
    #[default]
    Elsewhere,
    /// A block that becomes a tensor.
    Block(Block),
    /// Memory of the caller's.
    Caller(&'a mut [u8]),
}

/// How an output gets to where it is wanted.
enum Way<'a> {
    /// As a tensor.
    Tensor,
    /// It is computed in the caller's memory.
    Direct,
    /// It is copied there: it shares its memory with another output, an input or a constant, or the caller's memory is
    /// not aligned for its elements.
    Copy(&'a mut [u8]),
}

impl Home<'_> {
    fn into_bytes(self) -> Option<Bytes> {
        match self {
            Home::Block(block) => Some(Bytes::from_owner(block)),
            Home::Elsewhere | Home::Caller(_) => None,
        }
    }
}

/// Where each buffer is in this run.
struct Memory<'a> {
    bases: Vec<(*mut u8, usize)>,
    /// Keeps inputs and constants borrowed, and arena, blocks and the caller's memory uniquely held, as long as `bases`
    /// is used.
    _held: std::marker::PhantomData<&'a mut [u8]>,
}

impl Executable for CpuExecutable {
    fn run(
        &self,
        inputs: &[Resident],
        destinations: Vec<Destination<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Option<Resident>>, BackendError> {
        let inputs = &inputs.iter().map(Resident::to_host).collect::<Result<Vec<_>, _>>()?;
        let mut leaving = self.leaving(destinations)?;
        let mut arena = self.block(self.plan.arena_bytes, "intermediate values")?;
        let memory = self.memory(inputs, arena.as_mut(), &mut leaving.homes)?;
        self.threads.enter(|| self.steps(&memory, context))?;
        let outputs = self.outputs(inputs, leaving)?;
        Ok(outputs.into_iter().map(|tensor| tensor.map(Resident::Host)).collect())
    }

    fn workspace_bytes(&self) -> usize {
        self.plan.arena_bytes
    }

    fn placement(&self) -> &[NodePlacement] {
        &self.plan.placement
    }
}

impl CpuExecutable {
    fn steps(&self, memory: &Memory<'_>, context: &RunContext<'_>) -> Result<(), BackendError> {
        for step in &self.plan.steps {
            context.check()?;
            let start = context.profile.map(|profile| profile.now());
            let io = memory.io(step, &self.threads);
            step.kernel.run(io).map_err(|source| self.error(step, source))?;
            if let (Some(profile), Some(start)) = (context.profile, start) {
                profile.record(self.span(step, start, profile.now() - start));
            }
        }
        Ok(())
    }

    fn block(&self, bytes: usize, what: &str) -> Result<Block, BackendError> {
        let refused =
            |_: TensorError| BackendError::OutOfMemory { what: what.into(), needed: bytes, available: 0 };
        self.pool.take(bytes).map_err(refused)
    }

    fn memory<'a>(
        &'a self,
        inputs: &'a [Tensor],
        arena: &'a mut [u8],
        homes: &'a mut [Home<'_>],
    ) -> Result<Memory<'a>, BackendError> {
        let mut bases = Vec::with_capacity(self.plan.buffers.len());
        for (buffer, home) in self.plan.buffers.iter().zip(homes) {
            let base = match (&buffer.source, home) {
                (Source::Input(index), _) => aligned(&inputs[*index])?,
                (Source::Constant(tensor), _) => aligned(tensor)?,
                (Source::Arena(offset), _) => arena[*offset..*offset + buffer.bytes].as_mut_ptr(),
                (Source::Output, Home::Block(block)) => block.as_mut().as_mut_ptr(),
                (Source::Output, Home::Caller(bytes)) => bytes.as_mut_ptr(),
                (Source::Output, Home::Elsewhere) => unreachable!("every output buffer has a home"),
            };
            bases.push((base, buffer.bytes));
        }
        Ok(Memory { bases, _held: std::marker::PhantomData })
    }

    /// Gives every buffer that leaves the region its memory: the caller's, or a block.
    fn leaving<'c>(&self, mut destinations: Vec<Destination<'c>>) -> Result<Leaving<'c>, BackendError> {
        let outputs = &self.plan.outputs;
        destinations.resize_with(outputs.len(), Destination::default);
        let mut homes: Vec<Home<'c>> = Vec::with_capacity(self.plan.buffers.len());
        homes.resize_with(self.plan.buffers.len(), Home::default);
        let mut ways = Vec::with_capacity(outputs.len());
        for (slot, destination) in outputs.iter().zip(destinations) {
            let Destination::Caller(bytes) = destination else {
                // A tensor that is offered gives its memory back to the pool, which hands it out again below.
                drop(destination);
                ways.push(Way::Tensor);
                continue;
            };
            let buffer = &self.plan.buffers[slot.buffer];
            if bytes.len() != buffer.bytes {
                let (expected, got) = (buffer.bytes, bytes.len());
                return Err(BackendError::Device(format!(
                    "an output of {expected} bytes got memory of {got}"
                )));
            }
            let alone = outputs.iter().filter(|other| other.buffer == slot.buffer).count() == 1;
            let aligned = bytes.as_ptr().addr().is_multiple_of(buffer.alignment);
            if matches!(buffer.source, Source::Output) && alone && aligned {
                homes[slot.buffer] = Home::Caller(bytes);
                ways.push(Way::Direct);
            } else {
                ways.push(Way::Copy(bytes));
            }
        }
        for (buffer, home) in self.plan.buffers.iter().zip(&mut homes) {
            if matches!((&buffer.source, &*home), (Source::Output, Home::Elsewhere)) {
                *home = Home::Block(self.block(buffer.bytes, "outputs")?);
            }
        }
        Ok(Leaving { homes, ways })
    }

    /// The outputs as tensors, but for those that the caller's memory has; several may share one block, or an input's or
    /// constant's memory.
    fn outputs(&self, inputs: &[Tensor], leaving: Leaving<'_>) -> Result<Vec<Option<Tensor>>, BackendError> {
        let blocks: Vec<Option<Bytes>> = leaving.homes.into_iter().map(Home::into_bytes).collect();
        let tensor = |slot: &Slot| match (&self.plan.buffers[slot.buffer].source, &blocks[slot.buffer]) {
            (Source::Input(index), _) => inputs[*index].reshape(slot.shape.clone()),
            (Source::Constant(tensor), _) => tensor.reshape(slot.shape.clone()),
            (_, Some(bytes)) => Tensor::from_bytes(slot.dtype, slot.shape.clone(), bytes.clone()),
            (_, None) => unreachable!("an output is an input, a constant or a block"),
        };
        let deliver = |(slot, way): (&Slot, Way<'_>)| match way {
            Way::Direct => Ok(None),
            Way::Tensor => tensor(slot).map(Some),
            Way::Copy(bytes) => {
                bytes.copy_from_slice(tensor(slot)?.bytes());
                Ok(None)
            }
        };
        self.plan
            .outputs
            .iter()
            .zip(leaving.ways)
            .map(deliver)
            .collect::<Result<_, _>>()
            .map_err(device_error)
    }

    fn error(&self, step: &Step, source: OpError) -> BackendError {
        let placement = &self.plan.placement[step.node];
        let (node, op) = (placement.node.clone(), placement.op.clone());
        BackendError::Node(NodeError { node, op, inputs: step.facts.clone(), source })
    }

    fn span(&self, step: &Step, start: std::time::Duration, duration: std::time::Duration) -> Span {
        let placement = &self.plan.placement[step.node];
        Span {
            node: placement.node.clone(),
            op: placement.op.clone(),
            kernel: placement.kernel.clone(),
            start,
            duration,
            flops: step.flops,
            bytes: step.bytes,
            shape: step
                .outputs
                .iter()
                .flatten()
                .next()
                .map(|slot| slot.shape.to_string())
                .unwrap_or_default(),
        }
    }
}

fn aligned(tensor: &Tensor) -> Result<*mut u8, BackendError> {
    tensor.aligned_bytes().map(|bytes| bytes.as_ptr().cast_mut()).map_err(device_error)
}

fn device_error(error: TensorError) -> BackendError {
    BackendError::Device(error.to_string())
}

impl Memory<'_> {
    fn io<'b>(&'b self, step: &'b Step, threads: &'b Threads) -> Io<'b> {
        let view =
            |slot: &'b Slot| View { dtype: slot.dtype, shape: &slot.shape, bytes: self.read(slot.buffer) };
        let inputs = step.inputs.iter().map(|slot| slot.as_ref().map(view)).collect();
        let view_mut = |slot: &'b Slot| ViewMut {
            dtype: slot.dtype,
            shape: &slot.shape,
            bytes: self.write(slot.buffer),
        };
        let outputs = step.outputs.iter().map(|slot| slot.as_ref().map(view_mut)).collect();
        let scratch = step.scratch.map_or(&mut [][..], |buffer| self.write(buffer));
        Io { inputs, outputs, scratch, threads }
    }

    fn read(&self, buffer: usize) -> &[u8] {
        let (base, bytes) = self.bases[buffer];
        // SAFETY: `base` is valid for `bytes` as long as `self` borrows inputs, constants, arena and homes. While a step
        // runs nobody writes here: its outputs are buffers of their own (or the step does not see this one as an
        // input), other buffers alive at that time do not overlap (`inferrum_backend::place`), and steps run one after another.
        unsafe { std::slice::from_raw_parts(base, bytes) }
    }

    #[allow(clippy::mut_from_ref, reason = "the plan, not the borrow checker, keeps the writers apart")]
    fn write(&self, buffer: usize) -> &mut [u8] {
        let (base, bytes) = self.bases[buffer];
        // SAFETY: as for `read`; besides, only buffers in the arena and in homes are ever outputs or scratch, a step's
        // outputs are different values with different buffers, and its slices are gone when the next step begins.
        unsafe { std::slice::from_raw_parts_mut(base, bytes) }
    }
}
