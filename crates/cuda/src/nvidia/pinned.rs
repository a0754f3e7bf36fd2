//! Memory of the host that the device copies from and to by itself.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::sys;
use inferrum_backend::BackendError;

use super::gpu::{Gpu, Retired};
use crate::driver::Pinned;

/// Page-locked memory. It is freed when nothing uses it any more.
pub(crate) struct HostMemory {
    gpu: Arc<Gpu>,
    pointer: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: it is memory that nobody else has; the device writes to it only between a copy and the wait after it.
unsafe impl Send for HostMemory {}
// SAFETY: as above, and `&HostMemory` only reads.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// Zeros.
    ///
    /// # Errors
    /// There is not so much.
    pub(crate) fn new(gpu: &Arc<Gpu>, bytes: usize) -> Result<HostMemory, BackendError> {
        gpu.context.enter()?;
        let mut pointer: *mut c_void = std::ptr::null_mut();
        // SAFETY: the context is current, and the driver writes an address.
        let code =
            unsafe { sys::cuMemHostAlloc(&raw mut pointer, bytes.max(1), sys::CU_MEMHOSTALLOC_PORTABLE) };
        gpu.context.check("cuMemHostAlloc", code)?;
        let pointer = NonNull::new(pointer)
            .ok_or_else(|| BackendError::Device("cuMemHostAlloc gave nothing".into()))?;
        let memory = HostMemory { gpu: Arc::clone(gpu), pointer, bytes };
        // SAFETY: so many bytes were just allocated; from here on they have a value.
        unsafe { pointer.cast::<u8>().write_bytes(0, bytes) };
        Ok(memory)
    }
}

impl Pinned for HostMemory {
    fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are there, all written once, for as long as this lives.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr().cast(), self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this is the only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr().cast(), self.bytes) }
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        self.gpu.retire(Retired::Host(self.pointer));
    }
}
