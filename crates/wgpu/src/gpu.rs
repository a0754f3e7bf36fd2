//! An opened adapter: device, queue, and what goes wrong there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use inferrum_backend::{BackendError, DeviceFailure};

use crate::abilities::{Abilities, Without};
use crate::adapter::Found;
use crate::answer::Answer;
#[cfg(target_arch = "wasm32")]
use crate::answer::answer;
use crate::cooperative::Cooperative;
use crate::edge;
use crate::memory::Recycled;

/// Bytes of the largest element that a shader declares, a vector of four: what binds fewer is refused, be the tensor empty.
const LEAST_BYTES: usize = 16;

/// Bytes that are written before they are submitted, at most.
pub(crate) const MOST_PENDING: usize = 64 << 20;

/// An opened adapter.
pub(crate) struct Gpu {
    /// What `--device` calls it.
    pub(crate) id: Arc<str>,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) kind: wgpu::DeviceType,
    pub(crate) features: wgpu::Features,
    pub(crate) limits: wgpu::Limits,
    pub(crate) abilities: Abilities,
    /// Memory of tensors that are gone.
    pub(crate) recycled: Recycled,
    /// What went wrong where nobody asked: the device was lost, or a driver failed.
    failure: Arc<Mutex<Option<String>>>,
    /// Bytes that are written and not submitted yet; the driver's library holds a copy of them.
    pub(crate) pending: AtomicUsize,
    /// How often commands of runs were submitted.
    #[cfg(test)]
    pub(crate) submitted: AtomicUsize,
}

impl Gpu {
    /// Opens an adapter with all it can do that kernels ask for, but for what they shall do without.
    ///
    /// # Errors
    /// The driver refuses.
    pub(crate) async fn open(id: &str, found: &Found, without: Without) -> Result<Gpu, BackendError> {
        Gpu::open_within(id, found, without, found.adapter.limits()).await
    }

    /// As [`Gpu::open`], with limits of the caller's.
    pub(crate) async fn open_within(
        id: &str,
        found: &Found,
        without: Without,
        limits: wgpu::Limits,
    ) -> Result<Gpu, BackendError> {
        let wanted = wgpu::Features::SHADER_F16
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE;
        let mut features = wanted & found.adapter.features() & !without.features();
        if found.info.device_type == wgpu::DeviceType::Cpu {
            features |= wgpu::Features::SHADER_F64 & found.adapter.features();
        }
        let mut cooperative = Cooperative::offered(&found.adapter, features, &limits);
        let matrices = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        if without.matrices || !found.adapter.features().contains(matrices) {
            cooperative.clear();
        }
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if !cooperative.is_empty() {
            features |= matrices;
            // SAFETY: of the experiments only these matrices are asked for. One kernel uses them, in uniform control flow and
            // inside of its workgroup's memory, and nothing it computes is taken before the tuner has compared it.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("inferrum"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = found.adapter.request_device(&descriptor).await.map_err(|error| {
            BackendError::Device(format!("{} cannot be opened: {error}", found.info.name))
        })?;
        let failure = Arc::new(Mutex::new(None));
        let note = Arc::clone(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("the GPU's driver failed: {error}");
            note_first(&note, error.to_string());
        }));
        let note = Arc::clone(&failure);
        device.set_device_lost_callback(move |reason, message| {
            note_first(&note, format!("the driver says `{reason:?}` {message}").trim_end().to_owned());
        });
        let kind = found.info.device_type;
        let abilities = Abilities { cooperative, ..Abilities::new(features, limits.clone(), kind) };
        Ok(Gpu {
            id: id.into(),
            device,
            queue,
            kind,
            features,
            limits,
            abilities,
            recycled: Recycled::default(),
            failure,
            pending: AtomicUsize::new(0),
            #[cfg(test)]
            submitted: Default::default(),
        })
    }

    /// An error if the device failed some time ago.
    ///
    /// # Errors
    /// [`DeviceFailure::Lost`], with what went wrong then.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        let failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.as_ref().map_or(Ok(()), |reason| {
            let (device, reason) = (self.id.to_string(), reason.clone());
            Err(DeviceFailure::Lost { device, reason, during: String::new() }.into())
        })
    }

    /// The root of an error: nothing succeeds on a device that is lost, whatever it says.
    pub(crate) fn explained(&self, error: BackendError) -> BackendError {
        // The driver tells of a loss once nothing is on its way any more.
        let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check().err().unwrap_or(error)
    }

    /// Calls `f`, whose mistakes (invalid shaders and the like) and needs of memory become errors.
    ///
    /// # Errors
    /// What the device refused; `what` is the memory for.
    pub(crate) async fn scoped<R>(
        &self,
        what: &str,
        bytes: usize,
        f: impl FnOnce() -> R,
    ) -> Result<R, BackendError> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let result = f();
        // All scopes are closed before anything is awaited: they belong to this thread.
        let (internal, validation, memory) = (internal.pop(), validation.pop(), memory.pop());
        let (internal, validation, memory) = (internal.await, validation.await, memory.await);
        if let Some(error) = memory {
            let error = self.no_memory(what, bytes, &error.to_string());
            return Err(self.explained(error));
        }
        match validation.or(internal) {
            Some(error) => Err(self.explained(BackendError::Device(format!("{what}: {error}")))),
            None => Ok(result),
        }
    }

    /// As [`Gpu::scoped`], for threads that only this library has: the compilers of shaders.
    ///
    /// # Errors
    /// As [`Gpu::scoped`].
    pub(crate) fn guarded<R>(
        &self,
        what: &str,
        bytes: usize,
        f: impl FnOnce() -> R,
    ) -> Result<R, BackendError> {
        edge::wait(self.scoped(what, bytes, f))
    }

    /// Waits for an answer to what was submitted: natively the device is made to finish all of it, in a browser the answer
    /// comes by itself.
    ///
    /// # Errors
    /// The device failed.
    pub(crate) async fn told<T>(&self, answer: Answer<T>) -> Result<T, BackendError> {
        self.turn(wgpu::PollType::wait_indefinitely())?;
        let gone = || BackendError::Device("the GPU does not answer".into());
        answer.await.ok_or_else(|| self.explained(gone()))
    }

    /// Waits until a submission is done; other ones may follow before this is called.
    ///
    /// # Errors
    /// The device failed.
    pub(crate) async fn done(&self, submitted: Submitted) -> Result<(), BackendError> {
        #[cfg(not(target_arch = "wasm32"))]
        self.turn(wgpu::PollType::Wait { submission_index: Some(submitted.index), timeout: None })?;
        #[cfg(target_arch = "wasm32")]
        submitted.done.await;
        self.check()
    }

    fn turn(&self, poll: wgpu::PollType) -> Result<(), BackendError> {
        let silent = |error| BackendError::Device(format!("the GPU does not answer: {error}"));
        self.device.poll(poll).map_err(|error| self.explained(silent(error)))?;
        self.check()
    }

    /// Submits commands, to wait for them later.
    pub(crate) fn submit(&self, commands: wgpu::CommandBuffer) -> Submitted {
        #[cfg(test)]
        self.submitted.fetch_add(1, Ordering::SeqCst);
        self.sent([commands])
    }

    /// Submits commands, after all that was written.
    fn sent(&self, commands: impl IntoIterator<Item = wgpu::CommandBuffer>) -> Submitted {
        self.pending.store(0, Ordering::SeqCst);
        let index = self.queue.submit(commands);
        #[cfg(not(target_arch = "wasm32"))]
        return Submitted { index };
        #[cfg(target_arch = "wasm32")]
        {
            let (call, done) = answer();
            self.queue.on_submitted_work_done(move || call(()));
            Submitted { done }
        }
    }

    /// Notes that so many bytes were written to buffers; much of it is submitted, and its copies given back.
    ///
    /// # Errors
    /// The device failed.
    pub(crate) async fn written(&self, bytes: usize) -> Result<(), BackendError> {
        if self.pending.fetch_add(bytes, Ordering::SeqCst) + bytes < MOST_PENDING {
            return Ok(());
        }
        let submitted = self.sent([]);
        self.done(submitted).await
    }

    /// A buffer of at least `bytes` bytes, and of [`LEAST_BYTES`], so that any shader can bind it.
    ///
    /// # Errors
    /// [`DeviceFailure::NoMemory`]: no memory, or more than the adapter has in one piece.
    pub(crate) async fn buffer(
        &self,
        what: &str,
        bytes: usize,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, BackendError> {
        self.buffer_with(what, bytes, usage, false).await
    }

    /// As [`Gpu::buffer`], mapped for writing if so asked for.
    pub(crate) async fn buffer_with(
        &self,
        what: &str,
        bytes: usize,
        usage: wgpu::BufferUsages,
        mapped_at_creation: bool,
    ) -> Result<wgpu::Buffer, BackendError> {
        let size = (bytes.max(LEAST_BYTES) as u64).next_multiple_of(8);
        if size > self.limits.max_buffer_size {
            let reason = format!("the adapter's max_buffer_size is {}", self.limits.max_buffer_size);
            return Err(self.no_memory(what, bytes, &reason));
        }
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation };
        self.scoped(what, bytes, || self.device.create_buffer(&descriptor)).await
    }

    fn no_memory(&self, what: &str, needed: usize, reason: &str) -> BackendError {
        DeviceFailure::NoMemory {
            device: self.id.to_string(),
            what: what.into(),
            node: None,
            value: None,
            needed,
            reason: reason.into(),
        }
        .into()
    }
}

/// Commands on their way.
pub(crate) struct Submitted {
    /// No callback: it would come with the last submission of any thread, which nobody may wait for.
    #[cfg(not(target_arch = "wasm32"))]
    index: wgpu::SubmissionIndex,
    #[cfg(target_arch = "wasm32")]
    done: Answer<()>,
}

fn note_first(failure: &Mutex<Option<String>>, text: String) {
    failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(text);
}
