//! Opening a GPU: once for all sessions on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use inferrum_backend::{Cache, DeviceInfo, Unusable};

use super::compiler::Compiler;
use super::context::Context;
use super::driver::NvidiaDriver;
use super::gpu::Gpu;
use super::limit;
use super::probe;
use crate::driver::Driver;

/// GPUs that sessions have open, by number.
static OPEN: Mutex<BTreeMap<usize, Weak<NvidiaDriver>>> = Mutex::new(BTreeMap::new());

/// Opens the GPU that `selector` means: a number, a part of its name, or the first. Sessions on a GPU share it, unless it has
/// failed: then what is in it is lost, and it is opened anew.
///
/// # Errors
/// There is no such GPU, something that it needs is missing, or the driver refuses; and what to do.
pub(crate) fn open(selector: Option<&str>) -> Result<(Arc<dyn Driver>, DeviceInfo), Unusable> {
    let found = probe::found()?;
    let names: Vec<&str> = found.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    let device = &found.gpus[probe::select(&names, selector)?];
    let nvrtc = found.compiler(device)?;
    let limit = limit::asked()?;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let sound = open.get(&device.number).and_then(Weak::upgrade).filter(|held| held.check().is_ok());
    if let Some(held) = sound {
        let info = held.info.clone();
        return Ok((held, info));
    }
    let context = Context::sound(device).map_err(|failure| Unusable {
        reason: format!("{} cannot be opened: {failure}", device.id()),
        remedy: if failure.is_fatal() {
            "start the program anew: a failed GPU can be lost to the process that saw it fail".into()
        } else {
            "see in `nvidia-smi` who uses it, or choose another device".into()
        },
    })?;
    let gpu = Gpu::new(context, limit);
    let compiler = Compiler::new(nvrtc, Cache::of_user());
    let driver = Arc::new(NvidiaDriver::new(gpu, compiler, found.describe(device)));
    open.insert(device.number, Arc::downgrade(&driver));
    let info = driver.info.clone();
    Ok((driver, info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_where_nothing_can_be_opened() {
        match open(None) {
            Ok((driver, info)) => assert!(info.id == "cuda:0" && driver.check().is_ok()),
            Err(unusable) => assert!(!unusable.remedy.is_empty(), "{unusable}"),
        }
        assert!(open(Some("no such GPU")).is_err());
    }
}
