//! Streams of the driver.

use std::any::Any;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUgraph, CUresult, CUstream, CUstream_flags, CUstreamCaptureMode};
use inferrum_backend::BackendError;
use smallvec::SmallVec;

use super::gpu::{Gpu, Handle};
use super::graph::{Moment, Recorded};
use super::module::Module;
use super::products::{self, Ready};
use super::progress::Queue;
use crate::driver::{Address, Graph, Launch, Mark, Pinned, Stream};
use crate::library::{Operands, Prepared};

/// A stream that waits for no other, the default one included.
pub(crate) struct NvidiaStream {
    gpu: Arc<Gpu>,
    handle: CUstream,
    queue: Arc<Queue<Handle>>,
    /// The kernels of what is being recorded; None if nothing is.
    recording: Option<Vec<Arc<dyn Any + Send + Sync>>>,
}

// SAFETY: the driver takes a stream on any thread. A recording, which has to end on its thread, ends within `capture`.
unsafe impl Send for NvidiaStream {}

impl NvidiaStream {
    /// A new stream.
    ///
    /// # Errors
    /// The device has failed.
    pub(crate) fn new(gpu: &Arc<Gpu>) -> Result<NvidiaStream, BackendError> {
        gpu.context.enter()?;
        let mut handle: CUstream = std::ptr::null_mut();
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the context is current, and the driver writes a stream.
        gpu.context.check("cuStreamCreate", unsafe { sys::cuStreamCreate(&raw mut handle, flags) })?;
        let queue = gpu.joined(handle);
        Ok(NvidiaStream { gpu: Arc::clone(gpu), handle, queue, recording: None })
    }

    /// The result of a call that gave work to the stream.
    fn given(&self, call: &'static str, code: CUresult) -> Result<(), BackendError> {
        if self.recording.is_none() {
            self.queue.submit();
        }
        self.gpu.context.check(call, code)
    }

    /// Gives a library's product to the stream.
    pub(crate) fn run(&mut self, product: &Ready, at: Operands) -> Result<(), BackendError> {
        self.gpu.context.enter()?;
        let result = product.run(at, self.handle);
        if self.recording.is_none() {
            self.queue.submit();
        }
        result.map_err(BackendError::Device)
    }

    /// # Errors
    /// The stream is being recorded.
    fn not_recording(&self, what: &str) -> Result<(), BackendError> {
        if self.recording.is_none() {
            return Ok(());
        }
        Err(BackendError::Device(format!("{what} cannot be recorded")))
    }

    /// Ends the recording that was begun.
    fn recorded(&mut self) -> Result<(CUgraph, Vec<Arc<dyn Any + Send + Sync>>), BackendError> {
        let kernels = self.recording.take().unwrap_or_default();
        let mut graph: CUgraph = std::ptr::null_mut();
        // SAFETY: the stream is alive, and was being recorded; on any other thread the driver refuses.
        let code = unsafe { sys::cuStreamEndCapture(self.handle, &raw mut graph) };
        *self.queue.handle() = Some(Handle(self.handle));
        self.gpu.context.check("cuStreamEndCapture", code)?;
        if graph.is_null() {
            return Err(BackendError::Device("the recording was broken off".into()));
        }
        Ok((graph, kernels))
    }
}

/// # Errors
/// `bytes` are more than there are.
fn within(there: usize, bytes: usize) -> Result<(), BackendError> {
    if bytes <= there {
        return Ok(());
    }
    Err(BackendError::Device(format!("{bytes} bytes are copied from or to {there}")))
}

impl Stream for NvidiaStream {
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), BackendError> {
        let Launch { function, grid, block, shared, arguments } = *launch;
        let refused = |reason: &dyn std::fmt::Display| {
            let name = function.name;
            BackendError::Device(format!(
                "kernel `{name}` (grid {grid:?}, block {block:?}, {shared} bytes shared): {reason}"
            ))
        };
        let module = function.module.downcast_ref::<Module>().filter(|it| Arc::ptr_eq(&it.gpu, &self.gpu));
        let module = module.ok_or_else(|| refused(&"it is of another device"))?;
        module.accepts(arguments).map_err(|reason| refused(&reason))?;
        if grid.contains(&0) {
            return Ok(());
        }
        self.gpu.context.enter()?;
        let pointer = |argument: &crate::driver::Argument| argument.as_ptr().cast_mut().cast::<c_void>();
        let mut pointers: SmallVec<[*mut c_void; 16]> = arguments.iter().map(pointer).collect();
        // SAFETY: the function is of a loaded module that the caller holds, as does what is recorded; the pointers are to as many
        // arguments as it has parameters, of their sizes, which the driver copies before it returns. That the kernel stays within
        // the memory that it is given is upon the kernel.
        let code = unsafe {
            sys::cuLaunchKernel(
                module.function,
                grid[0],
                grid[1],
                grid[2],
                block[0],
                block[1],
                block[2],
                shared,
                self.handle,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        if let Some(kernels) = &mut self.recording
            && !kernels.iter().any(|it| Arc::ptr_eq(it, &function.module))
        {
            kernels.push(Arc::clone(&function.module));
        }
        self.given("cuLaunchKernel", code).map_err(|error| match error {
            BackendError::Device(reason) => refused(&reason),
            lost => lost,
        })
    }

    fn multiply(&mut self, product: &Arc<dyn Prepared>, at: &Operands) -> Result<(), BackendError> {
        let ready = products::of(product, &self.gpu);
        let ready = ready.ok_or_else(|| BackendError::Device("the product is of another device".into()))?;
        self.run(ready, *at)?;
        if let Some(kept) = &mut self.recording {
            let product: Arc<dyn Any + Send + Sync> = Arc::<dyn Prepared>::clone(product);
            kept.push(product);
        }
        Ok(())
    }

    fn upload(&mut self, to: Address, from: &dyn Pinned, bytes: usize) -> Result<(), BackendError> {
        let from = from.bytes();
        within(from.len(), bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        self.gpu.context.enter()?;
        // SAFETY: so many bytes are there, and stay until the stream is waited for; the caller answers for the address.
        let code = unsafe { sys::cuMemcpyHtoDAsync_v2(to.0, from.as_ptr().cast(), bytes, self.handle) };
        self.given("cuMemcpyHtoDAsync", code)
    }

    fn download(&mut self, from: Address, to: &mut dyn Pinned, bytes: usize) -> Result<(), BackendError> {
        let to = to.bytes_mut();
        within(to.len(), bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        self.gpu.context.enter()?;
        // SAFETY: there is room for so many bytes, which nobody reads until the stream is waited for.
        let code = unsafe { sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from.0, bytes, self.handle) };
        self.given("cuMemcpyDtoHAsync", code)
    }

    #[cfg(test)]
    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), BackendError> {
        if bytes == 0 {
            return Ok(());
        }
        self.gpu.context.enter()?;
        // SAFETY: the caller answers for both addresses.
        let code = unsafe { sys::cuMemcpyDtoDAsync_v2(to.0, from.0, bytes, self.handle) };
        self.given("cuMemcpyDtoDAsync", code)
    }

    fn fill(&mut self, to: Address, byte: u8, bytes: usize) -> Result<(), BackendError> {
        if bytes == 0 {
            return Ok(());
        }
        self.gpu.context.enter()?;
        // SAFETY: the caller answers for the address.
        let code = unsafe { sys::cuMemsetD8Async(to.0, byte, bytes, self.handle) };
        self.given("cuMemsetD8Async", code)
    }

    fn capture(
        &mut self,
        record: &mut dyn FnMut(&mut dyn Stream) -> Result<(), BackendError>,
    ) -> Result<Box<dyn Graph>, BackendError> {
        self.not_recording("a recording")?;
        self.gpu.context.enter()?;
        {
            // Nobody may wait for the stream until the recording ends: it would break it.
            let mut handle = self.queue.handle();
            // Other threads go on as they like: only what this thread calls is of the recording.
            let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            // SAFETY: the stream is alive, and is not being recorded.
            let code = unsafe { sys::cuStreamBeginCapture_v2(self.handle, mode) };
            self.gpu.context.check("cuStreamBeginCapture", code)?;
            *handle = None;
        }
        self.recording = Some(Vec::new());
        let result = record(self);
        let recorded = self.recorded();
        match (result, recorded) {
            (Ok(()), Ok((graph, kernels))) => Ok(Box::new(Recorded::new(&self.gpu, graph, kernels)?)),
            (Ok(()), Err(error)) => Err(error),
            (Err(error), recorded) => {
                if let Ok((graph, _)) = recorded {
                    // SAFETY: it was recorded, and nothing else has it.
                    unsafe { sys::cuGraphDestroy(graph) };
                }
                Err(error)
            }
        }
    }

    fn replay(&mut self, graph: &dyn Graph) -> Result<(), BackendError> {
        self.not_recording("a replay")?;
        let graph: &dyn Any = graph;
        let graph = graph.downcast_ref::<Recorded>().filter(|it| Arc::ptr_eq(&it.gpu, &self.gpu));
        let graph = graph.ok_or_else(|| BackendError::Device("the graph is of another device".into()))?;
        self.gpu.context.enter()?;
        // SAFETY: graph and stream are alive, and of the same context.
        let code = unsafe { sys::cuGraphLaunch(graph.handle, self.handle) };
        self.given("cuGraphLaunch", code)
    }

    fn mark(&mut self) -> Result<Box<dyn Mark>, BackendError> {
        self.not_recording("a mark")?;
        self.gpu.context.enter()?;
        Ok(Box::new(Moment::new(&self.gpu, self.handle)?))
    }

    fn wait(&mut self) -> Result<(), BackendError> {
        self.not_recording("a wait")?;
        self.gpu.context.enter()?;
        let submitted = self.queue.submitted();
        // SAFETY: the stream is alive, and is not being recorded.
        let code = unsafe { sys::cuStreamSynchronize(self.handle) };
        self.gpu.context.check("cuStreamSynchronize", code)?;
        self.queue.reached(submitted);
        self.gpu.settle();
        Ok(())
    }
}

impl Drop for NvidiaStream {
    fn drop(&mut self) {
        if self.recording.is_some()
            && let Ok((graph, _)) = self.recorded()
        {
            // What was being recorded panicked.
            // SAFETY: it was recorded, and nothing else has it.
            unsafe { sys::cuGraphDestroy(graph) };
        }
        // Whoever waits for the stream just now is done first.
        *self.queue.handle() = None;
        if self.gpu.context.enter().is_ok() {
            // SAFETY: the stream is alive, nobody else names it any more, and its work is done when it is destroyed.
            let codes =
                unsafe { [sys::cuStreamSynchronize(self.handle), sys::cuStreamDestroy_v2(self.handle)] };
            for error in
                codes.into_iter().filter_map(|code| self.gpu.context.check("cuStreamDestroy", code).err())
            {
                log::debug!("{error}");
            }
        }
        self.gpu.left(&self.queue);
    }
}
