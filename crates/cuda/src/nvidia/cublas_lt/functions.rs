//! The library's functions, and the objects that it makes.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

use cudarc::driver::sys::CUstream;

use crate::nvidia::dynamic::Dynamic;

/// A handle, descriptor, layout or preference.
pub(super) type Object = *mut c_void;
pub(super) type Create = unsafe extern "C" fn(*mut Object) -> c_int;
pub(super) type Destroy = unsafe extern "C" fn(Object) -> c_int;
pub(super) type Set = unsafe extern "C" fn(Object, c_int, *const c_void, usize) -> c_int;

#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) descriptor: unsafe extern "C" fn(*mut Object, c_int, c_int) -> c_int,
    pub(super) descriptor_destroy: Destroy,
    pub(super) descriptor_set: Set,
    pub(super) layout: unsafe extern "C" fn(*mut Object, c_int, u64, u64, i64) -> c_int,
    pub(super) layout_destroy: Destroy,
    pub(super) layout_set: Set,
    pub(super) preference: Create,
    pub(super) preference_destroy: Destroy,
    pub(super) preference_set: Set,
    pub(super) heuristic: unsafe extern "C" fn(
        Object,
        Object,
        Object,
        Object,
        Object,
        Object,
        Object,
        c_int,
        *mut Heuristic,
        *mut c_int,
    ) -> c_int,
    pub(super) multiply: Multiply,
    pub(super) status: unsafe extern "C" fn(c_int) -> *const c_char,
}

/// `cublasLtMatmul`: handle, descriptor, alpha, A, its layout, B, its layout, beta, C, its layout, D, its layout, algorithm,
/// workspace and its bytes, stream.
pub(super) type Multiply = unsafe extern "C" fn(
    Object,
    Object,
    *const c_void,
    *const c_void,
    Object,
    *const c_void,
    Object,
    *const c_void,
    *const c_void,
    Object,
    *mut c_void,
    Object,
    *const Algorithm,
    *mut c_void,
    usize,
    CUstream,
) -> c_int;

/// `cublasLtMatmulAlgo_t`, which may be kept for the same version of the library.
pub(crate) type Algorithm = [u64; 8];

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Heuristic {
    pub(super) algorithm: Algorithm,
    pub(super) workspace: usize,
    pub(super) state: c_int,
    pub(super) waves: f32,
    pub(super) reserved: [c_int; 4],
}

impl Functions {
    /// # Errors
    /// The library lacks one.
    pub(super) fn of(library: &Dynamic) -> Result<Functions, String> {
        // SAFETY: the signatures are those of cublasLt.h; enumerations are of the size of `int`.
        unsafe {
            Ok(Functions {
                descriptor: library.function("cublasLtMatmulDescCreate")?,
                descriptor_destroy: library.function("cublasLtMatmulDescDestroy")?,
                descriptor_set: library.function("cublasLtMatmulDescSetAttribute")?,
                layout: library.function("cublasLtMatrixLayoutCreate")?,
                layout_destroy: library.function("cublasLtMatrixLayoutDestroy")?,
                layout_set: library.function("cublasLtMatrixLayoutSetAttribute")?,
                preference: library.function("cublasLtMatmulPreferenceCreate")?,
                preference_destroy: library.function("cublasLtMatmulPreferenceDestroy")?,
                preference_set: library.function("cublasLtMatmulPreferenceSetAttribute")?,
                heuristic: library.function("cublasLtMatmulAlgoGetHeuristic")?,
                multiply: library.function("cublasLtMatmul")?,
                status: library.function("cublasLtGetStatusString")?,
            })
        }
    }

    pub(super) fn check(&self, call: &str, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: it gives a string that stays, for any number.
        let text = unsafe { (self.status)(code) };
        if text.is_null() {
            return Err(format!("{call}: status {code}"));
        }
        // SAFETY: it is a string that stays.
        Err(format!("{call}: {}", unsafe { CStr::from_ptr(text) }.to_string_lossy()))
    }
}

/// An object of the library that is destroyed at its end.
pub(super) struct Owned {
    functions: Functions,
    destroy: Destroy,
    pub(super) object: Object,
}

// SAFETY: the objects are plain data, which the library reads and writes only in calls.
unsafe impl Send for Owned {}
// SAFETY: they are written through `set` only, which those who share an object call under a lock.
unsafe impl Sync for Owned {}

impl Owned {
    /// # Safety
    /// `create` makes an object that `destroy` destroys.
    pub(super) unsafe fn new(
        call: &str,
        functions: &Functions,
        destroy: Destroy,
        create: impl FnOnce(*mut Object) -> c_int,
    ) -> Result<Owned, String> {
        let mut object = null_mut();
        functions.check(call, create(&raw mut object))?;
        Ok(Owned { functions: *functions, destroy, object })
    }

    pub(super) fn set(&self, set: Set, attribute: i32, bytes: &[u8]) -> Result<(), String> {
        // SAFETY: the object is alive, and the library reads so many bytes.
        let code = unsafe { set(self.object, attribute, bytes.as_ptr().cast(), bytes.len()) };
        self.functions.check(&format!("attribute {attribute}"), code)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: it was created, and nothing uses it any more.
        unsafe { (self.destroy)(self.object) };
    }
}
