//! Names of devices, and what a probe finds of them.

use std::fmt;
use std::str::FromStr;

/// A device as a user names it; `auto` and `cpu` in any case.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Device {
    /// The fastest usable device.
    #[default]
    Auto,
    /// The host's processor.
    Cpu,
    /// A device of a family that is opened at run time: `cuda`, `cuda:1`, `wgpu:name`, `ort:openvino:npu`.
    Named {
        /// `cuda`, `wgpu`, `ort`...
        family: String,
        /// What stands after the first colon.
        selector: Option<String>,
    },
}

/// A device name that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no device; use auto, cpu, or a name that `inferrum devices` lists")]
pub struct DeviceParseError(pub String);

impl FromStr for Device {
    type Err = DeviceParseError;

    fn from_str(text: &str) -> Result<Device, DeviceParseError> {
        let (family, selector) = match text.split_once(':') {
            Some((family, selector)) => (family, Some(selector)),
            None => (text, None),
        };
        let legal = |part: &str| !part.is_empty() && !part.chars().any(char::is_control);
        match (family.to_ascii_lowercase().as_str(), selector) {
            ("auto", None) => Ok(Device::Auto),
            ("cpu", None) => Ok(Device::Cpu),
            ("auto" | "cpu", Some(_)) => Err(DeviceParseError(text.to_owned())),
            (family, selector) if legal(family) && selector.is_none_or(legal) => {
                Ok(Device::Named { family: family.to_owned(), selector: selector.map(str::to_owned) })
            }
            _ => Err(DeviceParseError(text.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Named { family, selector: None } => f.write_str(family),
            Device::Named { family, selector: Some(selector) } => write!(f, "{family}:{selector}"),
        }
    }
}

/// What a probe found of one device.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// What `--device` takes, such as `cpu`.
    pub id: String,
    /// The hardware's name.
    pub name: String,
    /// Whether it can run models, and if not, why.
    pub usable: Result<(), Unusable>,
    /// Further facts, such as instruction sets, memory, versions: name and value.
    pub details: Vec<(String, String)>,
}

/// Why a device cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {remedy}")]
pub struct Unusable {
    /// What is missing or too old.
    pub reason: String,
    /// The one thing to do.
    pub remedy: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["auto", "cpu", "cuda", "cuda:1", "wgpu:llvmpipe (LLVM 15)", "ort:openvino:npu"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!(("CPU".parse(), "Auto".parse()), (Ok(Device::Cpu), Ok(Device::Auto)));
    }

    #[test]
    fn nonsense_is_refused() {
        for name in ["", ":", "cpu:1", "auto:x", "cuda:", "a\nb"] {
            assert!(name.parse::<Device>().is_err(), "{name:?}");
        }
    }
}
