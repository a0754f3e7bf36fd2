//! Finds devices and opens them.

use std::sync::Arc;

use inferrum_backend::{Backend, Device, DeviceInfo};
use inferrum_cpu::CpuBackend;
use inferrum_cpu::threads::Threads;

use crate::Error;

/// Every device that this build knows of, usable or not.
pub fn devices() -> Vec<DeviceInfo> {
    let mut devices = vec![CpuBackend::new(None).info().clone()];
    #[cfg(feature = "wgpu")]
    devices.extend(inferrum_wgpu::devices());
    devices
}

/// A device that was opened, and why it was chosen if the choice was ours.
pub(crate) struct Opened {
    pub(crate) backend: Arc<dyn Backend>,
    /// The processor, for what the backend declines; None if it is the backend.
    pub(crate) host: Option<Arc<dyn Backend>>,
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
        Device::Cpu => Ok(Opened { backend: cpu(), host: None, reason: None }),
        Device::Auto => Ok(Opened {
            backend: cpu(),
            host: None,
            reason: Some("it is the only device that `auto` knows how to rank so far".into()),
        }),
        Device::Named { family, selector } if family == "wgpu" => wgpu(device, selector.as_deref(), cpu()),
        other => Err(Error::Device {
            device: other.to_string(),
            reason: "this build has no such backend; `inferrum devices` lists what there is".into(),
        }),
    }
}

/// A GPU, with the processor for what it declines.
#[cfg(feature = "wgpu")]
fn wgpu(device: &Device, selector: Option<&str>, host: Arc<CpuBackend>) -> Result<Opened, Error> {
    let refused = |unusable: inferrum_backend::Unusable| Error::Device {
        device: device.to_string(),
        reason: unusable.to_string(),
    };
    let backend = inferrum_wgpu::WgpuBackend::open(selector).map_err(refused)?;
    Ok(Opened { backend: Arc::new(backend), host: Some(host), reason: None })
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(device: &Device, _selector: Option<&str>, _host: Arc<CpuBackend>) -> Result<Opened, Error> {
    Err(Error::Device {
        device: device.to_string(),
        reason: "this build has no GPU backend; build it with the feature `wgpu`".into(),
    })
}
