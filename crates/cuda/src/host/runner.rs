//! `kernels/host/runner.cpp`, compiled and opened, and what it and kernels are made of (`shared.h`).

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use libloading::Library;

use super::compile;

/// `host::Parameter`.
#[repr(C)]
pub(super) struct Parameter {
    pub(super) bytes: u32,
    pub(super) is_pointer: u32,
    kind: *const c_char,
}

impl Parameter {
    /// Its type, as the compiler spells it.
    pub(super) fn kind(&self) -> String {
        // SAFETY: a module's parameters are statics of it, and their types are literals.
        let text = unsafe { CStr::from_ptr(self.kind) }.to_string_lossy();
        // `... type_name() [with Any = const float*]`, or `[Any = const float *]`.
        let kind = text.rsplit_once("Any = ").map_or(&*text, |(_, kind)| kind);
        kind.trim_end_matches(']').to_string()
    }
}

/// `host::Module`.
#[repr(C)]
pub(super) struct Module {
    interface: u32,
    pub(super) parameter_count: u32,
    pub(super) parameters: *const Parameter,
    thread: *const c_void,
    state: *const c_void,
    static_begin: *const u8,
    static_end: *const u8,
}

/// `host::Launch`.
#[repr(C)]
pub(super) struct Launch {
    pub(super) module: *const Module,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shared: u32,
    pub(super) arguments: *const *const c_void,
}

/// `host::Report`.
#[repr(C)]
pub(super) struct Report {
    /// 0: nothing went wrong, 1: `text` says it, 2: `address` was accessed in vain.
    pub(super) kind: u32,
    pub(super) writes: u32,
    pub(super) address: u64,
    pub(super) block: [u32; 3],
    pub(super) thread: [u32; 3],
    pub(super) line: u32,
    text: [u8; 1024],
}

impl Report {
    pub(super) fn new() -> Report {
        Report {
            kind: 0,
            writes: 0,
            address: 0,
            block: [0; 3],
            thread: [u32::MAX; 3],
            line: 0,
            text: [0; 1024],
        }
    }

    /// What the runner says.
    pub(super) fn text(&self) -> String {
        let text = self.text.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

/// The functions of the runner; see there.
pub(super) struct Runner {
    /// Its pointers are to live things: a module that is open, as many arguments as it has parameters and each as long as its
    /// parameter and aligned to 16 bytes; and no other launch of the module is running.
    pub(super) launch: unsafe extern "C" fn(*const Launch, *mut Report) -> i32,
    pub(super) allocate: unsafe extern "C" fn(usize) -> *mut u8,
    pub(super) release: unsafe extern "C" fn(*mut u8, usize),
    _library: Library,
}

impl Runner {
    /// The process's runner.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn get() -> Result<&'static Runner, String> {
        static RUNNER: OnceLock<Result<Runner, String>> = OnceLock::new();
        RUNNER.get_or_init(Runner::open).as_ref().map_err(String::clone)
    }

    fn open() -> Result<Runner, String> {
        if !cfg!(target_os = "linux") {
            return Err(format!("{}: kernels run on hosts of Linux only", super::DEVICE));
        }
        let path = compile::runner()?;
        let opened = || -> Result<Runner, libloading::Error> {
            // SAFETY: our own code, which has no initialisers.
            let library = unsafe { Library::new(&path) }?;
            // SAFETY: these functions have these types in runner.cpp.
            unsafe {
                Ok(Runner {
                    launch: *library.get(b"inferrum_launch")?,
                    allocate: *library.get(b"inferrum_allocate")?,
                    release: *library.get(b"inferrum_release")?,
                    _library: library,
                })
            }
        };
        opened().map_err(|error| format!("{}: {}: {error}", super::DEVICE, path.display()))
    }
}
