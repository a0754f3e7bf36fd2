//! A device's primary context, and whether it is sound.
//!
//! An illegal access and the like break the context: each later call returns the same error, and what the context holds is lost.
//! The first such error is noted, and from then on nothing is asked of the driver any more. The next session resets the device
//! ([`Context::sound`]); where the driver refuses even that, only a new process helps.

use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUcontext, CUresult};
use inferrum_backend::BackendError;

use super::api::{Failure, check};
use super::device::Device;

/// The context. It is made current on whatever thread calls the driver.
pub(crate) struct Context {
    pub(crate) device: Device,
    handle: CUcontext,
    /// What broke it.
    failure: OnceLock<String>,
}

// SAFETY: a context may be current on any number of threads at once; the handle is only a name for it.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// The primary context of a device, which is what CUDA's own libraries use. One that is broken is reset before: nothing
    /// that is in it can be used any more by anyone in this process.
    ///
    /// # Errors
    /// The driver refuses.
    pub(crate) fn sound(device: &Device) -> Result<Context, Failure> {
        match Context::tried(device) {
            Err(failure) if failure.is_fatal() => {
                log::warn!("{}: the context is broken ({failure}), and is reset", device.id());
                // SAFETY: the handle is the driver's. Whoever holds the broken context gets errors before and after; drivers of
                // ours have noted its failure, or do at their next call, and then ask nothing more of it.
                check("cuDevicePrimaryCtxReset", unsafe { sys::cuDevicePrimaryCtxReset_v2(device.handle) })?;
                Context::tried(device)
            }
            result => result,
        }
    }

    fn tried(device: &Device) -> Result<Context, Failure> {
        let mut handle: CUcontext = std::ptr::null_mut();
        // SAFETY: the handle is the driver's; it writes a context, which is released when this is dropped.
        let code = unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut handle, device.handle) };
        check("cuDevicePrimaryCtxRetain", code)?;
        let context = Context { device: device.clone(), handle, failure: OnceLock::new() };
        // SAFETY: the context is retained.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(context.handle) })?;
        // SAFETY: a context is current. A broken one tells here.
        check("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })?;
        Ok(context)
    }

    /// Makes the context current on this thread.
    ///
    /// # Errors
    /// It is broken.
    pub(crate) fn enter(&self) -> Result<(), BackendError> {
        self.state()?;
        // SAFETY: the context is retained for as long as this lives.
        self.check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.handle) })
    }

    /// Whether it is sound, as far as is known.
    ///
    /// # Errors
    /// It is broken, and why.
    pub(crate) fn state(&self) -> Result<(), BackendError> {
        self.failure.get().map_or(Ok(()), |reason| Err(self.lost(reason.clone())))
    }

    /// The result of a call of the driver.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn check(&self, call: &'static str, code: CUresult) -> Result<(), BackendError> {
        check(call, code).map_err(|failure| self.error(&failure))
    }

    /// What a failure of a call is for the caller; if it broke the context, that is noted.
    pub(crate) fn error(&self, failure: &Failure) -> BackendError {
        if !failure.is_fatal() {
            return BackendError::Device(format!("{}: {failure}", self.device.id()));
        }
        // Of several threads that see it, the first is right.
        self.lost(self.failure.get_or_init(|| failure.to_string()).clone())
    }

    fn lost(&self, reason: String) -> BackendError {
        inferrum_backend::DeviceFailure::Lost { device: self.device.id(), reason, during: String::new() }
            .into()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained once, and may be released even when the device was reset since.
        let code = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device.handle) };
        if let Err(failure) = check("cuDevicePrimaryCtxRelease", code) {
            log::debug!("{}: {failure}", self.device.id());
        }
    }
}
