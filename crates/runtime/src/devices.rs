//! Finds devices and opens them.

use std::sync::Arc;

use inferrum_backend::{Backend, Device, DeviceInfo};
use inferrum_cpu::CpuBackend;
use inferrum_cpu::threads::Threads;

use crate::Error;

/// Every device that this build knows of, usable or not.
pub fn devices() -> Vec<DeviceInfo> {
    vec![CpuBackend::new(None).info().clone()]
}

/// A device that was opened, and why it was chosen if the choice was ours.
pub(crate) struct Opened {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) reason: Option<String>,
}

/// Opens a device.
///
/// # Errors
/// [`Error::Device`] when it is not there or not usable.
pub(crate) fn open(device: &Device, threads: Option<usize>) -> Result<Opened, Error> {
    if let Some(count) = threads.filter(|&count| count > Threads::MOST) {
        let most = Threads::MOST;
        return Err(Error::Unsupported(format!("{count} threads; a session takes at most {most}")));
    }
    let cpu = || Arc::new(CpuBackend::new(threads));
    match device {
        Device::Cpu => Ok(Opened { backend: cpu(), reason: None }),
        Device::Auto => Ok(Opened {
            backend: cpu(),
            reason: Some("the CPU is the only device that this build can run".into()),
        }),
        other => Err(Error::Device {
            device: other.to_string(),
            reason: "this build has no such backend; `inferrum devices` lists what there is".into(),
        }),
    }
}
