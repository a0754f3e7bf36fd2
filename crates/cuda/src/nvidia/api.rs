//! The driver's functions: whether they are there, and what their results mean.
//!
//! `cudarc` looks each function up at its first call, and panics if it is missing. So all that is called anywhere here stands in
//! [`REQUIRED`], and is looked for before the first call; what only newer drivers have is asked for by [`has`].

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUresult};
use inferrum_backend::Unusable;

/// The least version of CUDA that a driver must know: 12.0.
pub(crate) const LEAST: u32 = 12_000;

/// All functions of the driver that are called without asking [`has`].
const REQUIRED: &[&str] = &[
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetPCIBusId",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxReset_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventRecord",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAllocFromPoolAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemPoolCreate",
    "cuMemPoolDestroy",
    "cuMemPoolSetAttribute",
    "cuMemPoolTrimTo",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
];

/// The version of CUDA that the driver knows (13000 is 13.0); the driver is ready then. It is started once.
///
/// # Errors
/// There is no driver, it is too old, or it cannot start; and what to do.
pub(crate) fn version() -> Result<u32, Unusable> {
    static VERSION: OnceLock<Result<u32, Unusable>> = OnceLock::new();
    VERSION.get_or_init(start).clone()
}

fn start() -> Result<u32, Unusable> {
    // SAFETY: it opens and closes the driver's library, if there is one.
    if !unsafe { sys::is_culib_present() } {
        let reason = "NVIDIA's driver is not found (libcuda)".into();
        return Err(Unusable { reason, remedy: remedy().into() });
    }
    if let Some(missing) = REQUIRED.iter().find(|name| !has(name)) {
        return Err(too_old(&format!("it has no {missing}")));
    }
    let mut version = 0;
    // SAFETY: the function is there, and writes a number.
    let code = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    let version = version.unsigned_abs();
    if code == CUresult::CUDA_SUCCESS && version < LEAST {
        return Err(too_old(&format!("it knows CUDA {}", shown(version))));
    }
    // SAFETY: the function is there; 0 is the only value that it takes.
    let code = unsafe { sys::cuInit(0) };
    if code == CUresult::CUDA_SUCCESS { Ok(version) } else { Err(cannot_start(&Failure::of("cuInit", code))) }
}

/// Whether the driver has a function. The driver's library is there.
pub(crate) fn has(name: &str) -> bool {
    // SAFETY: the library is there, and the function is only looked for.
    unsafe { sys::culib().get::<unsafe extern "C" fn()>(name.as_bytes()).is_ok() }
}

fn too_old(why: &str) -> Unusable {
    Unusable {
        reason: format!("NVIDIA's driver is too old: {why}"),
        remedy: "install a driver of version 525 or newer (CUDA 12.0)".into(),
    }
}

/// What brings a driver.
fn remedy() -> &'static str {
    if cfg!(target_os = "linux") {
        "install NVIDIA's driver (Ubuntu: `ubuntu-drivers install`), or start the container with `--gpus all`"
    } else {
        "install NVIDIA's driver"
    }
}

fn cannot_start(failure: &Failure) -> Unusable {
    let hidden = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let remedy = match (failure.code, hidden) {
        (CUresult::CUDA_ERROR_NO_DEVICE | CUresult::CUDA_ERROR_INVALID_DEVICE, Some(value)) => {
            format!("unset CUDA_VISIBLE_DEVICES, which is `{value}`")
        }
        (CUresult::CUDA_ERROR_STUB_LIBRARY, _) => "take the folder `stubs` out of LD_LIBRARY_PATH".into(),
        (CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, _) => {
            "restart the machine: the driver was updated since it started".into()
        }
        (CUresult::CUDA_ERROR_SYSTEM_NOT_READY, _) => {
            "start the fabric manager (`systemctl start nvidia-fabricmanager`)".into()
        }
        (CUresult::CUDA_ERROR_NO_DEVICE, None) => {
            "see whether `nvidia-smi` lists a GPU; start a container with `--gpus all`".into()
        }
        _ => "see whether `nvidia-smi` works".into(),
    };
    Unusable { reason: format!("NVIDIA's driver sees no GPU: {failure}"), remedy }
}

/// A version as people write it.
pub(crate) fn shown(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// A call of the driver that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call}: {text}")]
pub(crate) struct Failure {
    pub(crate) call: &'static str,
    pub(crate) code: CUresult,
    text: String,
}

impl Failure {
    /// What the driver says of a code that one of its functions gave.
    pub(crate) fn of(call: &'static str, code: CUresult) -> Failure {
        let told = |f: unsafe fn(CUresult, *mut *const c_char) -> CUresult| {
            let mut text: *const c_char = std::ptr::null();
            // SAFETY: both functions write a string that stays, or NULL for a code that they do not know.
            unsafe {
                if f(code, &raw mut text) != CUresult::CUDA_SUCCESS || text.is_null() {
                    return None;
                }
                Some(CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        let text = match (told(sys::cuGetErrorName), told(sys::cuGetErrorString)) {
            (Some(name), Some(text)) => format!("{text} ({name})"),
            _ => format!("error {}", code as u32),
        };
        Failure { call, code, text }
    }

    /// Whether nothing succeeds any more after it: the device's context is broken, and what is in it is lost.
    pub(crate) fn is_fatal(&self) -> bool {
        use CUresult::*;
        matches!(
            self.code,
            CUDA_ERROR_DEINITIALIZED
                | CUDA_ERROR_ECC_UNCORRECTABLE
                | CUDA_ERROR_NVLINK_UNCORRECTABLE
                | CUDA_ERROR_CONTAINED
                | CUDA_ERROR_ILLEGAL_ADDRESS
                | CUDA_ERROR_LAUNCH_TIMEOUT
                | CUDA_ERROR_CONTEXT_IS_DESTROYED
                | CUDA_ERROR_ASSERT
                | CUDA_ERROR_HARDWARE_STACK_ERROR
                | CUDA_ERROR_ILLEGAL_INSTRUCTION
                | CUDA_ERROR_MISALIGNED_ADDRESS
                | CUDA_ERROR_INVALID_ADDRESS_SPACE
                | CUDA_ERROR_INVALID_PC
                | CUDA_ERROR_LAUNCH_FAILED
                | CUDA_ERROR_TENSOR_MEMORY_LEAK
                | CUDA_ERROR_EXTERNAL_DEVICE
                | CUDA_ERROR_UNKNOWN
        )
    }
}

/// The result of a call of the driver.
///
/// # Errors
/// It failed.
pub(crate) fn check(call: &'static str, code: CUresult) -> Result<(), Failure> {
    if code == CUresult::CUDA_SUCCESS { Ok(()) } else { Err(Failure::of(call, code)) }
}

/// `cuEventElapsedTime`, which `cudarc` offers only in its second form; that is missing in drivers before 12.8.
///
/// # Safety
/// As of the driver's function: two events of one device.
pub(crate) unsafe fn elapsed(
    milliseconds: *mut f32,
    start: sys::CUevent,
    end: sys::CUevent,
) -> Result<(), Failure> {
    type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> CUresult;
    // SAFETY: the function has this signature in cuda.h; it is in `REQUIRED`.
    let found = unsafe { sys::culib().get::<Elapsed>(b"cuEventElapsedTime") };
    let Ok(function) = found else {
        return Err(Failure::of("cuEventElapsedTime", CUresult::CUDA_ERROR_NOT_SUPPORTED));
    };
    // SAFETY: as the caller says.
    check("cuEventElapsedTime", unsafe { function(milliseconds, start, end) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_in_this_folder_is_looked_for_before() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/nvidia");
        let mut called = 0;
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            let Ok(text) = std::fs::read_to_string(file.path()) else { continue };
            for part in text.split("sys::cu").skip(1) {
                let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
                let name = format!("cu{}", &part[..end]);
                if name == "culib" || !part[end..].starts_with(['(', ')']) {
                    continue;
                }
                called += 1;
                let asked = text.contains(&format!("has(\"{name}\")"));
                assert!(asked || REQUIRED.contains(&name.as_str()), "{name} in {:?}", file.file_name());
            }
        }
        assert!(called > 40, "{called} calls were found");
    }

    #[test]
    fn versions_are_shown_as_people_write_them() {
        assert_eq!((shown(12_040), shown(13_000)), ("12.4".into(), "13.0".into()));
    }
}
