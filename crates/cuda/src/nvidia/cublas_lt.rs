//! cuBLASLt: matrix products by NVIDIA's library, <https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api>.
//!
//! Its matrices lie column by column. A matrix of ours, row by row, is the transposed of one of theirs without a copy, so that
//! `d = a b` is asked for as `dᵀ = bᵀ aᵀ`: their first factor is our `b`, their bias, one number for each of their rows, is ours,
//! one for each column.

mod described;
mod functions;

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use cudarc::driver::sys::CUstream;

pub(crate) use self::described::Described;
pub(crate) use self::functions::Algorithm;
use self::functions::{Create, Destroy, Functions, Heuristic, Object, Owned};
use super::dynamic::Dynamic;
use crate::library::{Element, Operands, Product};

/// Memory that an algorithm may use besides, in bytes; what NVIDIA recommends for Hopper.
const WORKSPACE: u64 = 32 << 20;

/// Values of enumerations in cublasLt.h, and of `cudaDataType_t` in library_types.h.
mod value {
    pub(super) const COMPUTE_32F: i32 = 68;
    pub(super) const COMPUTE_32I: i32 = 72;
    pub(super) const COMPUTE_32F_FAST_TF32: i32 = 77;
    pub(super) const DESC_TRANS_A: i32 = 3;
    pub(super) const DESC_TRANS_B: i32 = 4;
    pub(super) const DESC_EPILOGUE: i32 = 7;
    pub(super) const DESC_BIAS_POINTER: i32 = 8;
    pub(super) const LAYOUT_BATCH_COUNT: i32 = 5;
    pub(super) const LAYOUT_BATCH_OFFSET: i32 = 6;
    pub(super) const PREF_MAX_WORKSPACE: i32 = 1;
    pub(super) const PREF_MIN_ALIGNMENT: [i32; 4] = [5, 6, 7, 8];
    pub(super) const EPILOGUE_DEFAULT: u32 = 1;
    pub(super) const EPILOGUE_RELU: u32 = 2;
    pub(super) const EPILOGUE_BIAS: u32 = 4;
    pub(super) const EPILOGUE_GELU: u32 = 32;
}

/// The library with a handle for one device.
pub(crate) struct CublasLt {
    handle: Object,
    destroy: Destroy,
    functions: Functions,
}

// SAFETY: the library's functions may be called with one handle from several threads.
unsafe impl Send for CublasLt {}
// SAFETY: as above.
unsafe impl Sync for CublasLt {}

/// A way to compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) algorithm: Algorithm,
    /// Bytes that it needs besides.
    pub(crate) workspace: usize,
}

impl CublasLt {
    /// A handle for the device whose context is current.
    ///
    /// # Errors
    /// The library lacks a function, or refuses the device.
    pub(crate) fn new(library: &Dynamic) -> Result<CublasLt, String> {
        // SAFETY: the signatures are those of cublasLt.h; enumerations are of the size of `int`.
        unsafe {
            let functions = Functions::of(library)?;
            let create: Create = library.function("cublasLtCreate")?;
            let destroy: Destroy = library.function("cublasLtDestroy")?;
            let mut handle = null_mut();
            functions.check("cublasLtCreate", create(&raw mut handle))?;
            Ok(CublasLt { handle, destroy, functions })
        }
    }

    /// The ways to compute a product that the library holds for the best, best first; none if it cannot.
    ///
    /// # Errors
    /// The library fails.
    pub(crate) fn ways(&self, described: &Described, most: usize) -> Result<Vec<Way>, String> {
        let f = &self.functions;
        // SAFETY: it makes an object, which is destroyed with its owner.
        let preference = unsafe {
            Owned::new("cublasLtMatmulPreferenceCreate", f, f.preference_destroy, |it| (f.preference)(it))?
        };
        let set = |attribute, bytes: &[u8]| preference.set(f.preference_set, attribute, bytes);
        set(value::PREF_MAX_WORKSPACE, &WORKSPACE.to_ne_bytes())?;
        for attribute in value::PREF_MIN_ALIGNMENT {
            set(attribute, &described.product.alignment.to_ne_bytes())?;
        }
        let mut found = vec![Heuristic::default(); most];
        let mut count: c_int = 0;
        let descriptor = described.descriptor();
        // SAFETY: all objects are alive, and there is room for as many results as are asked for.
        let code = unsafe {
            (f.heuristic)(
                self.handle,
                descriptor.object,
                described.b.object,
                described.a.object,
                described.d.object,
                described.d.object,
                preference.object,
                most as c_int,
                found.as_mut_ptr(),
                &raw mut count,
            )
        };
        // CUBLAS_STATUS_NOT_SUPPORTED: there is none.
        if code == 15 {
            return Ok(Vec::new());
        }
        f.check("cublasLtMatmulAlgoGetHeuristic", code)?;
        found.truncate(usize::try_from(count).unwrap_or(0));
        let good = found.into_iter().filter(|it| it.state == 0);
        Ok(good.map(|it| Way { algorithm: it.algorithm, workspace: it.workspace }).collect())
    }

    /// Gives a product to a stream.
    ///
    /// # Errors
    /// The library refuses.
    ///
    /// # Safety
    /// The operands are in the device's memory, as large as the product says, and the stream is alive; `way` is one of
    /// [`CublasLt::ways`] for `described`, and its workspace is there. The device's context is current.
    pub(crate) unsafe fn multiply(
        &self,
        described: &Described,
        way: &Way,
        at: Operands,
        stream: CUstream,
    ) -> Result<(), String> {
        let product = &described.product;
        let descriptor = described.descriptor();
        if product.bias {
            descriptor.set(
                self.functions.descriptor_set,
                value::DESC_BIAS_POINTER,
                &at.bias.0.to_ne_bytes(),
            )?;
        }
        // The scale's type is that of the sums.
        let scale = |on: bool| match product.result {
            Element::I32 => i32::from(on).to_ne_bytes(),
            _ => f32::from(u8::from(on)).to_ne_bytes(),
        };
        let (alpha, beta) = (scale(true), scale(product.added));
        let c = if product.added { at.c } else { at.d };
        // SAFETY: as the caller says; alpha and beta are read before the call returns.
        let code = unsafe {
            (self.functions.multiply)(
                self.handle,
                descriptor.object,
                alpha.as_ptr().cast(),
                at.b.0 as *const c_void,
                described.b.object,
                at.a.0 as *const c_void,
                described.a.object,
                beta.as_ptr().cast(),
                c.0 as *const c_void,
                described.d.object,
                at.d.0 as *mut c_void,
                described.d.object,
                &raw const way.algorithm,
                at.workspace.0 as *mut c_void,
                way.workspace,
                stream,
            )
        };
        self.functions.check("cublasLtMatmul", code)
    }

    /// A product as the library describes it. No device is needed.
    ///
    /// # Errors
    /// The library cannot describe it.
    pub(crate) fn describe(&self, product: Product) -> Result<Described, String> {
        Described::new(self.functions, product)
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        // SAFETY: it was created, and nothing uses it any more.
        unsafe { (self.destroy)(self.handle) };
    }
}
