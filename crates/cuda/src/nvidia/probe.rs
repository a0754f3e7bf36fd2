//! What this machine has: driver, compiler, libraries, GPUs.

use std::sync::OnceLock;

use inferrum_backend::{DeviceInfo, Unusable};

use super::api;
use super::device::{self, Device, LEAST_CAPABILITY};
use super::nvrtc::Nvrtc;
use super::optional;

/// What the driver shows.
pub(crate) struct Found {
    /// The version of CUDA that the driver knows: 13000 is 13.0.
    pub(crate) driver: u32,
    /// At least one.
    pub(crate) gpus: Vec<Device>,
}

/// The GPUs of this machine; the driver is asked once for the process.
///
/// # Errors
/// There is no driver, or no GPU; and what to do.
pub(crate) fn found() -> Result<&'static Found, Unusable> {
    static FOUND: OnceLock<Result<Found, Unusable>> = OnceLock::new();
    FOUND.get_or_init(find).as_ref().map_err(Clone::clone)
}

fn find() -> Result<Found, Unusable> {
    let driver = api::version()?;
    let failed = |error: api::Failure| Unusable {
        reason: format!("NVIDIA's driver fails: {error}"),
        remedy: "see whether `nvidia-smi` works".into(),
    };
    let count = device::count().map_err(failed)?;
    let gpus = (0..count).map(Device::at).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if gpus.is_empty() {
        return Err(Unusable {
            reason: "NVIDIA's driver sees no GPU".into(),
            remedy: "see whether `nvidia-smi` lists one, and what CUDA_VISIBLE_DEVICES hides".into(),
        });
    }
    Ok(Found { driver, gpus })
}

impl Found {
    /// The major version of CUDA that the driver knows.
    pub(crate) fn major(&self) -> u32 {
        self.driver / 1000
    }

    /// The compiler for a GPU.
    ///
    /// # Errors
    /// The GPU is too old, or there is no compiler.
    pub(crate) fn compiler(&self, gpu: &Device) -> Result<&'static Nvrtc, Unusable> {
        let capability = gpu.abilities.capability;
        if capability < LEAST_CAPABILITY {
            return Err(Unusable {
                reason: format!("its compute capability is {}.{}", capability / 10, capability % 10),
                remedy: "use a GPU of compute capability 7.5 or newer, or another device (`--device wgpu`)"
                    .into(),
            });
        }
        Nvrtc::find(Some(self.major()))
    }

    /// What is told of a GPU.
    pub(crate) fn describe(&self, gpu: &Device) -> DeviceInfo {
        let mut details = gpu.details();
        let mut tell = |name: &str, value: String| details.push((name.to_owned(), value));
        let cuda = format!("CUDA {}", api::shown(self.driver));
        tell("driver", kernel_module().map_or(cuda.clone(), |version| format!("{version} ({cuda})")));
        let compiler = self.compiler(gpu);
        if let Ok(nvrtc) = compiler {
            let (major, minor) = nvrtc.version;
            tell("NVRTC", format!("{major}.{minor} ({})", nvrtc.path().display()));
        }
        let major = self.major();
        let package = |name: &str| if major < 13 { format!("{name}-cu{major}") } else { name.to_owned() };
        let cudnn = format!("nvidia-cudnn-cu{major}");
        for (name, library, package) in [
            ("cuBLASLt", optional::cublas_lt(major), package("nvidia-cublas")),
            ("cuDNN", optional::cudnn(major), cudnn),
        ] {
            tell(
                name,
                match library {
                    Some(it) => format!("{} ({})", it.version, it.library.path.display()),
                    None => format!("not found: own kernels, slower; `pip install {package}`"),
                },
            );
        }
        DeviceInfo { id: gpu.id(), name: gpu.name.clone(), usable: compiler.map(|_| ()), details }
    }
}

/// The GPUs of this machine, or why there is none.
pub fn devices() -> Vec<DeviceInfo> {
    match found() {
        Ok(found) => found.gpus.iter().map(|gpu| found.describe(gpu)).collect(),
        Err(unusable) => vec![DeviceInfo {
            id: "cuda".into(),
            name: "NVIDIA GPUs".into(),
            usable: Err(unusable),
            details: Vec::new(),
        }],
    }
}

/// The version of the driver's part in the kernel, as `nvidia-smi` shows it.
fn kernel_module() -> Option<String> {
    module_version(&std::fs::read_to_string("/proc/driver/nvidia/version").ok()?)
}

/// The first word that is a version: `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build`.
fn module_version(text: &str) -> Option<String> {
    let version = |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    text.split_whitespace().find(version).map(str::to_owned)
}

/// The place in `names` of the GPU that a user means: by number, by part of its name, or the first.
///
/// # Errors
/// There is no such GPU; what there is.
pub(crate) fn select(names: &[&str], selector: Option<&str>) -> Result<usize, Unusable> {
    let Some(selector) = selector else { return Ok(0) };
    let lower = selector.to_lowercase();
    let place = match selector.parse::<usize>() {
        Ok(number) => (number < names.len()).then_some(number),
        Err(_) => names.iter().position(|name| name.to_lowercase().contains(&lower)),
    };
    place.ok_or_else(|| {
        let listed: Vec<String> =
            names.iter().enumerate().map(|(number, name)| format!("cuda:{number} ({name})")).collect();
        Unusable {
            reason: format!("no NVIDIA GPU is `{selector}`"),
            remedy: format!("use one of {}", listed.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_meant_by_number_or_name() {
        let names = ["NVIDIA H200", "NVIDIA RTX A6000"];
        assert_eq!(select(&names, None), Ok(0));
        assert_eq!(select(&names, Some("1")), Ok(1));
        assert_eq!(select(&names, Some("a6000")), Ok(1));
        let error = select(&names, Some("2")).unwrap_err().to_string();
        assert!(error.contains("cuda:0 (NVIDIA H200), cuda:1 (NVIDIA RTX A6000)"), "{error}");
        assert!(select(&names, Some("radeon")).is_err());
    }

    #[test]
    fn probing_tells_what_there_is_or_what_to_do() {
        let devices = devices();
        assert!(!devices.is_empty());
        for device in devices {
            match &device.usable {
                Ok(()) => assert!(device.id.starts_with("cuda:") && !device.name.is_empty()),
                Err(unusable) => {
                    println!("{unusable}");
                    assert!(!unusable.reason.is_empty() && !unusable.remedy.is_empty());
                }
            }
        }
    }

    #[test]
    fn the_kernel_tells_the_version_of_the_driver() {
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs@x)\nGCC version: 12.3.0";
        assert_eq!(module_version(open).as_deref(), Some("580.65.06"));
        assert_eq!(module_version("NVRM version:"), None);
    }
}
