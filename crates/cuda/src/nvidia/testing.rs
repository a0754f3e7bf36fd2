//! For tests: kernels are compiled for devices that are not there.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use inferrum_backend::Cache;

use super::architecture::Architecture;
use super::compiler::Compiler;
use super::nvrtc::Nvrtc;
use crate::source::Source;

/// The compiler of this machine, which keeps what it makes beside the tests' binary; None, and a word about it, if there is none.
pub(crate) fn compiler() -> Option<&'static Compiler> {
    static COMPILER: LazyLock<Option<Compiler>> = LazyLock::new(|| match Nvrtc::find(None) {
        Ok(nvrtc) => {
            let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("nvrtc")));
            Some(Compiler::new(nvrtc, beside.map(Cache::at).unwrap_or_default()))
        }
        Err(missing) => {
            println!("skipped: no NVRTC ({missing})");
            None
        }
    });
    COMPILER.as_ref()
}

/// Panics unless the source compiles for devices of a compute capability; without a compiler nothing is checked.
pub(crate) fn compiles(source: &Source, capability: u32) {
    static DONE: Mutex<Option<HashSet<(Source, u32)>>> = Mutex::new(None);
    let Some(compiler) = compiler() else { return };
    let key = (source.clone(), capability);
    let done = || DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if done().as_ref().is_some_and(|done| done.contains(&key)) {
        return;
    }
    if let Err(error) = compiler.compile_for(source, Architecture::of_device(capability)) {
        panic!("{error}");
    }
    done().get_or_insert_default().insert(key);
}
