//! Finds devices and opens them.

use std::sync::Arc;

use inferrum_backend::{Backend, Device, DeviceInfo, Precision};
use inferrum_cpu::CpuBackend;
use inferrum_cpu::threads::Threads;

use crate::Error;

/// Every device that this build knows of, usable or not.
pub fn devices() -> Vec<DeviceInfo> {
    let mut devices = vec![CpuBackend::new(None).info().clone()];
    #[cfg(feature = "cuda")]
    devices.extend(inferrum_cuda::devices());
    #[cfg(feature = "wgpu")]
    devices.extend(inferrum_wgpu::devices());
    devices
}

/// A device that was opened.
pub(crate) struct Opened {
    pub(crate) backend: Arc<dyn Backend>,
    /// The processor, for what the backend declines; None if it is the backend.
    pub(crate) host: Option<Arc<dyn Backend>>,
}

/// Opens a device.
///
/// # Errors
/// [`Error::Device`] when it is not there or not usable.
pub(crate) fn open(device: &Device, threads: Option<usize>, precision: Precision) -> Result<Opened, Error> {
    if let Some(count) = threads.filter(|&count| count > Threads::MOST) {
        let most = Threads::MOST;
        return Err(Error::Unsupported(format!("{count} threads; a session takes at most {most}")));
    }
    let cpu = || Arc::new(CpuBackend::new(threads));
    let opened = open_device(device, precision, cpu())?;
    let backend = &opened.backend;
    let kept = match precision.narrow() {
        Some(dtype) => backend.narrows_to(dtype),
        None => precision != Precision::Tf32 || backend.rounds_to_tf32(),
    };
    if !kept {
        let id = &backend.info().id;
        return Err(Error::Unsupported(format!(
            "precision {precision} on `{id}`, which computes in f32 here"
        )));
    }
    Ok(opened)
}

fn open_device(device: &Device, precision: Precision, cpu: Arc<CpuBackend>) -> Result<Opened, Error> {
    match device {
        Device::Cpu | Device::Auto => Ok(Opened { backend: cpu, host: None }),
        Device::Named { family, selector } if family == "cuda" => {
            cuda(device, selector.as_deref(), precision, cpu)
        }
        Device::Named { family, selector } if family == "wgpu" => wgpu(device, selector.as_deref(), cpu),
        other => Err(Error::Device {
            device: other.to_string(),
            reason: "this build has no such backend; `inferrum devices` lists what there is".into(),
        }),
    }
}

/// An NVIDIA GPU, with the processor for what it declines.
#[cfg(feature = "cuda")]
fn cuda(
    device: &Device,
    selector: Option<&str>,
    precision: Precision,
    host: Arc<CpuBackend>,
) -> Result<Opened, Error> {
    let refused = |unusable: inferrum_backend::Unusable| Error::Device {
        device: device.to_string(),
        reason: unusable.to_string(),
    };
    let backend = inferrum_cuda::CudaBackend::open(selector, precision).map_err(refused)?;
    Ok(Opened { backend: Arc::new(backend), host: Some(host) })
}

#[cfg(not(feature = "cuda"))]
fn cuda(
    device: &Device,
    _selector: Option<&str>,
    _precision: Precision,
    _host: Arc<CpuBackend>,
) -> Result<Opened, Error> {
    Err(Error::Device {
        device: device.to_string(),
        reason: "this build has no CUDA backend; build it with the feature `cuda`".into(),
    })
}

/// A GPU, with the processor for what it declines.
#[cfg(feature = "wgpu")]
fn wgpu(device: &Device, selector: Option<&str>, host: Arc<CpuBackend>) -> Result<Opened, Error> {
    let refused = |unusable: inferrum_backend::Unusable| Error::Device {
        device: device.to_string(),
        reason: unusable.to_string(),
    };
    let backend = inferrum_wgpu::WgpuBackend::open(selector).map_err(refused)?;
    Ok(Opened { backend: Arc::new(backend), host: Some(host) })
}

/// Why `auto` takes the processor. Asks the drivers, which takes some time, where there is something to drive.
#[cfg(feature = "wgpu")]
pub(crate) fn why_the_processor() -> String {
    if !shows_gpu() {
        return "the processor, for this machine shows no GPU".into();
    }
    match inferrum_wgpu::hardware() {
        Err(unusable) => format!("the processor, for there is no other device: {unusable}"),
        Ok(None) => "the processor, for every GPU here is software".into(),
        Ok(Some(gpu)) => {
            format!("the processor, for GPUs are not ranked yet; `--device {}` takes {}", gpu.id, gpu.name)
        }
    }
}

/// Whether the machine may have a GPU: Linux shows one as a file.
#[cfg(feature = "wgpu")]
fn shows_gpu() -> bool {
    let nodes = |folder: &str, prefix: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
    };
    !cfg!(target_os = "linux")
        || nodes("/dev/dri", "render")
        || nodes("/dev", "nvidia")
        || nodes("/dev", "dxg")
}

#[cfg(not(feature = "wgpu"))]
pub(crate) fn why_the_processor() -> String {
    "the processor, for this build knows no other device".into()
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(device: &Device, _selector: Option<&str>, _host: Arc<CpuBackend>) -> Result<Opened, Error> {
    Err(Error::Device {
        device: device.to_string(),
        reason: "this build has no GPU backend; build it with the feature `wgpu`".into(),
    })
}
