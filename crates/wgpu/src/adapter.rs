//! The adapters of this machine: what drivers offer, and which of them a user means.

use std::sync::OnceLock;

use inferrum_backend::{DeviceInfo, Unusable};

use crate::abilities::Without;
use crate::edge;

/// The name of the variable that restricts the drivers: `vulkan`, `gl`, `metal` or `dx12`.
pub(crate) const BACKEND_VARIABLE: &str = "INFERRUM_WGPU_BACKEND";

/// An adapter, and what it is.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) adapter: wgpu::Adapter,
    pub(crate) info: wgpu::AdapterInfo,
}

impl Found {
    /// # Errors
    /// The adapter is less than kernels are made for.
    pub(crate) fn usable(&self) -> Result<(), Unusable> {
        match lacking(&self.adapter.limits()) {
            None => Ok(()),
            Some(reason) => {
                Err(Unusable { reason, remedy: "update the driver, or choose another device".into() })
            }
        }
    }

    /// What is told of it under the name `id`.
    pub(crate) fn describe(&self, id: String) -> DeviceInfo {
        let limits = self.adapter.limits();
        let features = self.adapter.features() & !Without::asked().unwrap_or_default().features();
        let has = |feature, name: &str| features.contains(feature).then(|| name.to_owned());
        let abilities: Vec<String> = [
            has(wgpu::Features::SHADER_F16, "f16"),
            has(wgpu::Features::SHADER_INT64, "i64"),
            has(wgpu::Features::SUBGROUP, "subgroups"),
            has(wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
        let kind = match self.info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete GPU",
            wgpu::DeviceType::IntegratedGpu => "integrated GPU",
            wgpu::DeviceType::VirtualGpu => "virtual GPU",
            wgpu::DeviceType::Cpu => "software: the processor plays the GPU; `auto` never takes it",
            wgpu::DeviceType::Other => "of unknown kind",
        };
        let details = [
            ("type", kind.to_owned()),
            ("interface", self.info.backend.to_string()),
            ("driver", format!("{} {}", self.info.driver, self.info.driver_info).trim().to_owned()),
            ("largest tensor", mebibytes(limits.max_storage_buffer_binding_size)),
            ("abilities", abilities.join(", ")),
        ];
        DeviceInfo {
            id,
            name: self.info.name.clone(),
            usable: self.usable(),
            details: details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

/// What an adapter of these limits lacks of what every kernel takes for granted: WebGPU guarantees it, older interfaces do not.
/// What only some kernels need is found out when a node is lowered.
fn lacking(limits: &wgpu::Limits) -> Option<String> {
    let wanted = [
        ("max_compute_invocations_per_workgroup", limits.max_compute_invocations_per_workgroup, 256),
        ("max_compute_workgroup_size_x", limits.max_compute_workgroup_size_x, 256),
        ("max_compute_workgroup_size_y", limits.max_compute_workgroup_size_y, 64),
        ("max_compute_workgroup_storage_size", limits.max_compute_workgroup_storage_size, 16 << 10),
        ("max_compute_workgroups_per_dimension", limits.max_compute_workgroups_per_dimension, 65535),
        ("max_storage_buffers_per_shader_stage", limits.max_storage_buffers_per_shader_stage, 4),
    ];
    let (name, has, least) = wanted.into_iter().find(|(_, has, least)| has < least)?;
    Some(format!("the adapter's {name} is {has}, and kernels take {least}"))
}

/// The adapters of this machine, real ones first. The drivers are asked once for the process.
///
/// # Errors
/// [`BACKEND_VARIABLE`] names no interface, or no driver offers an adapter that computes.
pub(crate) fn adapters() -> Result<&'static [Found], Unusable> {
    static FOUND: OnceLock<Result<Vec<Found>, Unusable>> = OnceLock::new();
    FOUND.get_or_init(|| edge::wait(find())).as_deref().map_err(Clone::clone)
}

async fn find() -> Result<Vec<Found>, Unusable> {
    let found = match backends(std::env::var(BACKEND_VARIABLE).ok().as_deref())? {
        Some(backends) => offered(backends).await,
        None => {
            let native = offered(wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12).await;
            // OpenGL can do less, and shows the same hardware again.
            if native.is_empty() { offered(wgpu::Backends::GL).await } else { native }
        }
    };
    if found.is_empty() {
        return Err(Unusable { reason: "no driver offers a GPU".into(), remedy: remedy().into() });
    }
    Ok(found)
}

/// The adapters that compute, real ones first.
async fn offered(backends: wgpu::Backends) -> Vec<Found> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = instance.enumerate_adapters(backends).await;
    let found = adapters.into_iter().map(|adapter| Found { info: adapter.get_info(), adapter });
    let computes = |found: &Found| {
        let flags = found.adapter.get_downlevel_capabilities().flags;
        flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    };
    let mut found: Vec<Found> = found.filter(computes).collect();
    found.sort_by_key(|found| rank(found.info.device_type));
    found
}

/// What to do where no driver offers anything.
fn remedy() -> &'static str {
    if cfg!(target_os = "linux") {
        "install the GPU's Vulkan driver (Debian, Ubuntu: `apt install libvulkan1 mesa-vulkan-drivers`)"
    } else {
        "install or update the GPU's driver"
    }
}

/// The interfaces that the variable asks for.
///
/// # Errors
/// It names none.
fn backends(variable: Option<&str>) -> Result<Option<wgpu::Backends>, Unusable> {
    Ok(match variable.map(str::to_ascii_lowercase).as_deref() {
        None | Some("") => None,
        Some("vulkan") => Some(wgpu::Backends::VULKAN),
        Some("gl") => Some(wgpu::Backends::GL),
        Some("metal") => Some(wgpu::Backends::METAL),
        Some("dx12") => Some(wgpu::Backends::DX12),
        Some(other) => {
            return Err(Unusable {
                reason: format!("{BACKEND_VARIABLE} is `{other}`"),
                remedy: "set it to vulkan, gl, metal or dx12, or unset it".into(),
            });
        }
    })
}

fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// The place in `names` of the one that a user means: by number, by part of the name, or the first.
///
/// # Errors
/// There is no such adapter; what there is.
pub(crate) fn select(names: &[&str], selector: Option<&str>) -> Result<usize, Unusable> {
    let Some(selector) = selector else { return Ok(0) };
    let lower = selector.to_lowercase();
    let place = match selector.parse::<usize>() {
        Ok(number) => (number < names.len()).then_some(number),
        Err(_) => names.iter().position(|name| name.to_lowercase().contains(&lower)),
    };
    place.ok_or_else(|| {
        let listed: Vec<String> =
            names.iter().enumerate().map(|(number, name)| format!("wgpu:{number} ({name})")).collect();
        Unusable {
            reason: format!("no adapter is `{selector}`"),
            remedy: format!("use one of {}", listed.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_meant_by_number_or_name() {
        let names = ["NVIDIA H200", "llvmpipe (LLVM 15)"];
        assert_eq!(select(&names, None), Ok(0));
        assert_eq!(select(&names, Some("1")), Ok(1));
        assert_eq!(select(&names, Some("LLVMpipe")), Ok(1));
        let error = select(&names, Some("2")).unwrap_err().to_string();
        assert!(error.contains("wgpu:1 (llvmpipe (LLVM 15))"), "{error}");
        assert!(select(&names, Some("radeon")).is_err());
    }

    #[test]
    fn adapters_that_can_do_too_little_are_found_out() {
        assert_eq!(lacking(&wgpu::Limits::default()), None);
        // OpenGL ES 3.1, and what has no compute shaders.
        let reason = lacking(&wgpu::Limits::downlevel_defaults()).unwrap();
        assert!(reason.contains("max_compute_workgroup_storage_size is 16352"), "{reason}");
        let few = wgpu::Limits { max_compute_invocations_per_workgroup: 128, ..wgpu::Limits::default() };
        let reason = lacking(&few).unwrap();
        assert!(reason.contains("max_compute_invocations_per_workgroup is 128"), "{reason}");
        assert!(lacking(&wgpu::Limits::downlevel_webgl2_defaults()).is_some());
    }

    #[test]
    fn the_variable_names_an_interface() {
        assert_eq!(backends(Some("Vulkan")), Ok(Some(wgpu::Backends::VULKAN)));
        assert_eq!(backends(None), Ok(None));
        assert!(backends(Some("opengl")).unwrap_err().to_string().contains("INFERRUM_WGPU_BACKEND"));
    }
}
