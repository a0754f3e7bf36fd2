//! Kernels that the driver has loaded.

use std::ffi::CString;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute, CUmodule, CUresult};
use inferrum_backend::BackendError;

use super::api::{self, check};
use super::gpu::{Gpu, Retired};
use crate::driver::{Argument, Function};

/// More parameters than a kernel has: 4 KiB of them, of a byte each.
const MOST_PARAMETERS: usize = 4096;

/// A loaded kernel; unloaded when nothing holds it and nothing runs it any more.
pub(crate) struct Module {
    pub(crate) gpu: Arc<Gpu>,
    handle: CUmodule,
    pub(crate) function: CUfunction,
    /// Bytes of each parameter; None if the driver is too old to tell (before 12.4).
    parameters: Option<Vec<usize>>,
}

// SAFETY: the driver takes modules and functions on any thread, several at once too.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads code (CUBIN, or PTX that ends in a zero byte) that has the kernel `entry`.
    ///
    /// # Errors
    /// The driver refuses it.
    pub(crate) fn load(gpu: &Arc<Gpu>, image: &[u8], entry: &'static str) -> Result<Module, BackendError> {
        gpu.context.enter()?;
        let refused = |error: BackendError| match error {
            BackendError::Device(reason) => BackendError::Device(format!("kernel `{entry}`: {reason}")),
            lost => lost,
        };
        let mut handle: CUmodule = std::ptr::null_mut();
        // SAFETY: the image is whole: the compiler made it, or the cache has checked its sum; it tells its length by itself. The
        // driver copies it.
        let code = unsafe { sys::cuModuleLoadData(&raw mut handle, image.as_ptr().cast()) };
        gpu.context.check("cuModuleLoadData", code).map_err(refused)?;
        // From here on it is unloaded when dropped.
        let function = std::ptr::null_mut();
        let mut module = Module { gpu: Arc::clone(gpu), handle, function, parameters: None };
        let name = CString::new(entry).map_err(|_| BackendError::Device(format!("`{entry}` is no name")))?;
        // SAFETY: the module is loaded, and the name ends in a zero byte.
        let code = unsafe { sys::cuModuleGetFunction(&raw mut module.function, handle, name.as_ptr()) };
        gpu.context.check("cuModuleGetFunction", code).map_err(refused)?;
        module.ready().map_err(refused)?;
        Ok(module)
    }

    /// Brings the code to the device now, so that nothing is left to be loaded while a graph is recorded, and allows it all of
    /// the shared memory.
    fn ready(&mut self) -> Result<(), BackendError> {
        let context = &self.gpu.context;
        if api::has("cuFuncLoad") {
            // SAFETY: the function is of a loaded module.
            context.check("cuFuncLoad", unsafe { sys::cuFuncLoad(self.function) })?;
        }
        let mut declared = 0;
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        // SAFETY: the function is of a loaded module, and the driver writes a number.
        let code = unsafe { sys::cuFuncGetAttribute(&raw mut declared, attribute, self.function) };
        context.check("cuFuncGetAttribute", code)?;
        let most = i32::try_from(context.device.abilities.shared_bytes).unwrap_or(i32::MAX) - declared;
        if most > 0 {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a loaded module.
            let code = unsafe { sys::cuFuncSetAttribute(self.function, attribute, most) };
            if let Err(failure) = check("cuFuncSetAttribute", code) {
                // A launch that needs more than 48 KiB fails by itself, others need nothing of this.
                log::debug!("{}: {}", context.device.id(), context.error(&failure));
            }
        }
        self.parameters = self.sizes();
        Ok(())
    }

    /// Bytes of each parameter, if the driver tells.
    fn sizes(&self) -> Option<Vec<usize>> {
        if !api::has("cuFuncGetParamInfo") {
            return None;
        }
        let mut sizes = Vec::new();
        for place in 0..MOST_PARAMETERS {
            let (mut offset, mut size) = (0, 0);
            // SAFETY: the function is of a loaded module; beyond the last parameter the driver refuses.
            let code =
                unsafe { sys::cuFuncGetParamInfo(self.function, place, &raw mut offset, &raw mut size) };
            match code {
                CUresult::CUDA_SUCCESS => sizes.push(size),
                CUresult::CUDA_ERROR_INVALID_VALUE => return Some(sizes),
                _ => return None,
            }
        }
        None
    }

    /// Whether the arguments have the sizes of the parameters; the driver would read beyond them else.
    ///
    /// # Errors
    /// They have not.
    pub(crate) fn accepts(&self, arguments: &[Argument]) -> Result<(), String> {
        let Some(parameters) = &self.parameters else { return Ok(()) };
        if arguments.iter().map(|it| it.bytes).eq(parameters.iter().copied()) {
            return Ok(());
        }
        let given: Vec<usize> = arguments.iter().map(|it| it.bytes).collect();
        Err(format!("it takes parameters of {parameters:?} bytes, and is given {given:?}"))
    }

    /// As what launches name it by.
    pub(crate) fn named(self, name: &'static str) -> Function {
        Function { module: Arc::new(self), name }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.gpu.retire(Retired::Module(self.handle));
    }
}
