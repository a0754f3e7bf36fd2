//! An opened adapter: device, queue, and what goes wrong there.

use std::sync::{Arc, Mutex};

use inferrum_backend::BackendError;

use crate::abilities::{Abilities, Without};
use crate::adapter::Found;

/// An opened adapter.
pub(crate) struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) features: wgpu::Features,
    pub(crate) limits: wgpu::Limits,
    pub(crate) abilities: Abilities,
    /// What went wrong where nobody asked: the device was lost, or a driver failed.
    failure: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    /// Opens an adapter with all it can do that kernels ask for, but for what they shall do without.
    ///
    /// # Errors
    /// The driver refuses.
    pub(crate) fn open(found: &Found, without: Without) -> Result<Gpu, BackendError> {
        let wanted = wgpu::Features::SHADER_F16
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE;
        let features = wanted & found.adapter.features() & !without.features();
        let limits = found.adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("inferrum"),
            required_features: features,
            required_limits: limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) =
            pollster::block_on(found.adapter.request_device(&descriptor)).map_err(|error| {
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
            if reason != wgpu::DeviceLostReason::Destroyed {
                note_first(&note, format!("the device was lost: {message}"));
            }
        });
        let abilities = Abilities::new(features, limits.clone(), found.info.device_type);
        Ok(Gpu { device, queue, features, limits, abilities, failure })
    }

    /// An error if the device failed some time ago.
    ///
    /// # Errors
    /// What went wrong then.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        let failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure
            .as_ref()
            .map_or(Ok(()), |text| Err(BackendError::Device(format!("{text}; make a new session to go on"))))
    }

    /// Calls `f`, whose mistakes (invalid shaders and the like) and needs of memory become errors.
    ///
    /// # Errors
    /// What the device refused; `what` is the memory for.
    pub(crate) fn guarded<R>(
        &self,
        what: &str,
        bytes: usize,
        f: impl FnOnce() -> R,
    ) -> Result<R, BackendError> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let result = f();
        let (internal, validation) =
            (pollster::block_on(internal.pop()), pollster::block_on(validation.pop()));
        let memory = pollster::block_on(memory.pop());
        if let Some(error) = memory {
            log::debug!("{error}");
            return Err(BackendError::OutOfMemory { what: what.into(), needed: bytes, available: 0 });
        }
        match validation.or(internal) {
            Some(error) => Err(BackendError::Device(format!("{what}: {error}"))),
            None => Ok(result),
        }
    }

    /// Waits until everything submitted so far is done.
    ///
    /// # Errors
    /// The device failed.
    pub(crate) fn wait(&self) -> Result<(), BackendError> {
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| BackendError::Device(format!("the GPU does not answer: {error}")))?;
        self.check()
    }

    /// A buffer of at least `bytes` bytes, which is never empty.
    ///
    /// # Errors
    /// No memory, or more than the adapter binds at once.
    pub(crate) fn buffer(
        &self,
        what: &str,
        bytes: usize,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, BackendError> {
        let size = (bytes.max(4) as u64).next_multiple_of(4);
        if size > self.limits.max_buffer_size {
            return Err(BackendError::Device(format!(
                "{what} takes {bytes} bytes; the adapter's max_buffer_size is {}",
                self.limits.max_buffer_size
            )));
        }
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        self.guarded(what, bytes, || self.device.create_buffer(&descriptor))
    }
}

fn note_first(failure: &Mutex<Option<String>>, text: String) {
    failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(text);
}
