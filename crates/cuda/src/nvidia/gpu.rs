//! An opened GPU: its context, its memory, and what is given back.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{self, CUgraphExec, CUmodule, CUstream};
use inferrum_backend::{BackendError, DeviceFailure};

use super::api::{Failure, check};
use super::context::Context;
use super::memory::{Memory, Refusal};
use super::progress::{Progress, Queue};
use crate::driver::{ALIGNMENT, Address};

/// An opened GPU. Streams, kernels, graphs and page-locked memory each hold it.
pub(crate) struct Gpu {
    pub(crate) context: Context,
    memory: Memory,
    progress: Mutex<Progress<Handle, Retired>>,
}

/// A stream's name, for other threads to wait for it.
#[derive(Clone, Copy)]
pub(crate) struct Handle(pub(crate) CUstream);

// SAFETY: the driver takes a stream on any thread.
unsafe impl Send for Handle {}

/// What was given back, and may still be in use.
pub(crate) enum Retired {
    /// Memory of the device: where, and bytes.
    Memory(u64, usize),
    /// Page-locked memory.
    Host(NonNull<c_void>),
    Graph(CUgraphExec),
    Module(CUmodule),
}

// SAFETY: the driver takes all of these on any thread.
unsafe impl Send for Retired {}

impl Gpu {
    /// A GPU whose context is current.
    pub(crate) fn new(context: Context, limit: Option<usize>) -> Gpu {
        let memory = Memory::new(&context.device, limit);
        Gpu { context, memory, progress: Mutex::new(Progress::default()) }
    }

    fn progress(&self) -> MutexGuard<'_, Progress<Handle, Retired>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets others wait for a new stream.
    pub(crate) fn joined(&self, stream: CUstream) -> Arc<Queue<Handle>> {
        self.progress().enter(Handle(stream))
    }

    /// A stream is gone, all of its work is done.
    pub(crate) fn left(&self, queue: &Arc<Queue<Handle>>) {
        self.progress().leave(queue);
        self.settle();
    }

    /// Ends what was given back, once all work that is on its way now is done.
    pub(crate) fn retire(&self, what: Retired) {
        let now = self.progress().retire(what);
        if let Some(what) = now
            && self.context.enter().is_ok()
        {
            self.end(what);
        }
    }

    /// Ends what was given back and is not in use any more.
    pub(crate) fn settle(&self) {
        let settled = self.progress().settled();
        if !settled.is_empty() && self.context.enter().is_ok() {
            settled.into_iter().for_each(|what| self.end(what));
        }
    }

    /// Ends something. On a broken context nothing is done: it goes with the context.
    fn end(&self, what: Retired) {
        if self.context.state().is_err() {
            return;
        }
        // SAFETY: each was made by the driver, comes here once, and is not in use: `progress` has seen to that.
        let ended = unsafe {
            match what {
                Retired::Memory(address, bytes) => self.memory.put(address, bytes),
                Retired::Host(pointer) => check("cuMemFreeHost", sys::cuMemFreeHost(pointer.as_ptr())),
                Retired::Graph(graph) => check("cuGraphExecDestroy", sys::cuGraphExecDestroy(graph)),
                Retired::Module(module) => check("cuModuleUnload", sys::cuModuleUnload(module)),
            }
        };
        if let Err(failure) = ended {
            log::warn!("{}", self.context.error(&failure));
        }
    }

    /// Waits for the work on all streams but those that are being recorded, and ends what waited for it.
    fn reclaim(&self) -> Result<(), Failure> {
        let queues = self.progress().queues();
        for queue in queues {
            let submitted = queue.submitted();
            let handle = queue.handle();
            let Some(Handle(stream)) = *handle else { continue };
            // SAFETY: while its handle is held, the stream is alive and is not being recorded.
            check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(stream) })?;
            queue.reached(submitted);
        }
        self.settle();
        Ok(())
    }

    /// Memory of the device.
    ///
    /// # Errors
    /// [`DeviceFailure::NoMemory`] without `what`; or the device has failed.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<Address, BackendError> {
        self.context.enter()?;
        let taken = match self.memory.take(bytes) {
            Err(Refusal::Limit { .. } | Refusal::Exhausted) => {
                // What waits for work, and what the pool keeps in pieces of other sizes.
                let made_room = self.reclaim().and_then(|()| self.memory.trim());
                made_room.map_err(|failure| self.context.error(&failure))?;
                self.memory.take(bytes)
            }
            taken => taken,
        };
        let address = taken.map_err(|refusal| self.refused(bytes, refusal))?;
        if address % ALIGNMENT as u64 != 0 {
            self.free(Address(address), bytes);
            return Err(BackendError::Device(format!(
                "the driver gave memory at {address:#x}, which is not aligned"
            )));
        }
        Ok(Address(address))
    }

    fn refused(&self, needed: usize, refusal: Refusal) -> BackendError {
        let reason = match refusal {
            Refusal::Failed(failure) => return self.context.error(&failure),
            Refusal::Limit { limit, held } => {
                format!("the limit is {limit} bytes ({}), of which {held} are taken", super::MEMORY_VARIABLE)
            }
            Refusal::Exhausted => {
                let (mut free, mut total) = (0, 0);
                // SAFETY: the context is current, and the driver writes two numbers.
                let code = unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
                match check("cuMemGetInfo", code) {
                    Ok(()) => format!("{free} of the GPU's {total} bytes are free"),
                    Err(failure) => failure.to_string(),
                }
            }
        };
        let device = self.context.device.id();
        DeviceFailure::NoMemory { device, what: String::new(), node: None, value: None, needed, reason }
            .into()
    }

    /// Gives memory back.
    pub(crate) fn free(&self, address: Address, bytes: usize) {
        self.memory.returned(bytes);
        self.retire(Retired::Memory(address.0, bytes));
    }

    /// Bytes that are allocated, and the most that were.
    pub(crate) fn allocated(&self) -> (usize, usize) {
        self.memory.used()
    }

    /// Gives the driver back what is kept for later.
    ///
    /// # Errors
    /// The device has failed.
    pub(crate) fn trim(&self) -> Result<(), BackendError> {
        self.context.enter()?;
        self.settle();
        self.memory.trim().map_err(|failure| self.context.error(&failure))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // No stream is left: each held this.
        self.settle();
        if self.context.enter().is_ok() {
            self.memory.close();
        }
    }
}
