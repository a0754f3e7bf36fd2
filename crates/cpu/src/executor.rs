//! Runs a plan. The one place where a plan's offsets become slices.

use std::sync::Arc;

use bytes::Bytes;
use inferrum_backend::{BackendError, Executable, NodePlacement, RunContext, Span};
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

/// Where each buffer is in this run.
struct Memory<'a> {
    bases: Vec<(*mut u8, usize)>,
    /// Keeps inputs and constants borrowed, and arena and outputs uniquely held, as long as `bases` is used.
    _held: std::marker::PhantomData<&'a mut [u8]>,
}

impl Executable for CpuExecutable {
    fn run(
        &self,
        inputs: &[Tensor],
        reuse: Vec<Option<Tensor>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Tensor>, BackendError> {
        // A tensor that is offered for an output gives its memory back to the pool, which hands it out again.
        drop(reuse);
        let mut arena = self.block(self.plan.arena_bytes, "intermediate values")?;
        let mut owned: Vec<Option<Block>> = Vec::with_capacity(self.plan.buffers.len());
        for buffer in &self.plan.buffers {
            let leaves = matches!(buffer.source, Source::Output);
            owned.push(leaves.then(|| self.block(buffer.bytes, "outputs")).transpose()?);
        }
        let memory = self.memory(inputs, arena.as_mut(), &mut owned)?;
        self.threads.enter(|| self.steps(&memory, context))?;
        self.outputs(inputs, owned)
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
        owned: &'a mut [Option<Block>],
    ) -> Result<Memory<'a>, BackendError> {
        let mut bases = Vec::with_capacity(self.plan.buffers.len());
        for (buffer, own) in self.plan.buffers.iter().zip(owned) {
            let base = match (&buffer.source, own) {
                (Source::Input(index), _) => aligned(&inputs[*index])?,
                (Source::Constant(tensor), _) => aligned(tensor)?,
                (Source::Arena(offset), _) => arena[*offset..*offset + buffer.bytes].as_mut_ptr(),
                (Source::Output, Some(block)) => block.as_mut().as_mut_ptr(),
                (Source::Output, None) => unreachable!("every output buffer has a block"),
            };
            bases.push((base, buffer.bytes));
        }
        Ok(Memory { bases, _held: std::marker::PhantomData })
    }

    /// The outputs as tensors; several may share one block, or an input's or constant's memory.
    fn outputs(&self, inputs: &[Tensor], owned: Vec<Option<Block>>) -> Result<Vec<Tensor>, BackendError> {
        let blocks: Vec<Option<Bytes>> =
            owned.into_iter().map(|block| block.map(Bytes::from_owner)).collect();
        let tensor = |slot: &Slot| match (&self.plan.buffers[slot.buffer].source, &blocks[slot.buffer]) {
            (Source::Input(index), _) => inputs[*index].reshape(slot.shape.clone()),
            (Source::Constant(tensor), _) => tensor.reshape(slot.shape.clone()),
            (_, Some(bytes)) => Tensor::from_bytes(slot.dtype, slot.shape.clone(), bytes.clone()),
            (_, None) => unreachable!("an output is an input, a constant or a block"),
        };
        self.plan.outputs.iter().map(tensor).collect::<Result<_, _>>().map_err(device_error)
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
        // SAFETY: `base` is valid for `bytes` as long as `self` borrows inputs, constants, arena and blocks. While a step
        // runs nobody writes here: its outputs are buffers of their own (or the step does not see this one as an
        // input), other buffers alive at that time do not overlap (`memory::place`), and steps run one after another.
        unsafe { std::slice::from_raw_parts(base, bytes) }
    }

    #[allow(clippy::mut_from_ref, reason = "the plan, not the borrow checker, keeps the writers apart")]
    fn write(&self, buffer: usize) -> &mut [u8] {
        let (base, bytes) = self.bases[buffer];
        // SAFETY: as for `read`; besides, only buffers in the arena and in blocks are ever outputs or scratch, a step's
        // outputs are different values with different buffers, and its slices are gone when the next step begins.
        unsafe { std::slice::from_raw_parts_mut(base, bytes) }
    }
}
