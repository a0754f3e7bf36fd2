//! GPUs as the driver tells of them, without opening them.

use std::ffi::{CStr, c_char, c_int};

use cudarc::driver::sys::{self, CUdevice, CUdevice_attribute};

use super::api::{Failure, check};
use crate::abilities::Abilities;

/// The least compute capability: 7.5, Turing.
pub(crate) const LEAST_CAPABILITY: u32 = 75;

/// What the driver tells of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// What the driver calls it by.
    pub(crate) handle: CUdevice,
    /// Its place among those that the driver shows (`CUDA_VISIBLE_DEVICES` chooses and orders them).
    pub(crate) number: usize,
    pub(crate) name: String,
    /// Such as `0000:1b:00.0`.
    pub(crate) pci: String,
    pub(crate) abilities: Abilities,
    /// Clock of the multiprocessors in kHz.
    pub(crate) clock: u32,
    /// Clock of the memory in kHz, and bits of its bus.
    pub(crate) memory_bus: (u32, u32),
    /// Bytes of the cache that all multiprocessors share.
    pub(crate) l2_bytes: u32,
    /// Whether memory can come from pools.
    pub(crate) pools: bool,
}

impl Device {
    /// Facts of the GPU at place `number`. The driver has started.
    ///
    /// # Errors
    /// The driver has no such GPU, or does not tell.
    pub(crate) fn at(number: usize) -> Result<Device, Failure> {
        let mut handle: CUdevice = 0;
        // SAFETY: the driver writes a handle; it refuses a number that is none.
        check("cuDeviceGet", unsafe {
            sys::cuDeviceGet(&raw mut handle, c_int::try_from(number).unwrap_or(-1))
        })?;
        let mut memory = 0;
        // SAFETY: the handle is the driver's.
        check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&raw mut memory, handle) })?;
        use CUdevice_attribute::*;
        let required = |which| attribute(handle, which);
        // What is only shown.
        let shown = |which| attribute(handle, which).unwrap_or(0);
        let major = required(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = required(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let abilities = Abilities {
            capability: major * 10 + minor,
            multiprocessors: required(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes: required(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            memory: memory as u64,
            tf32: false,
        };
        Ok(Device {
            handle,
            number,
            name: name(handle)?,
            pci: pci(handle).unwrap_or_default(),
            abilities,
            clock: shown(CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
            memory_bus: (
                shown(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
                shown(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
            ),
            l2_bytes: shown(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
            pools: shown(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED) == 1,
        })
    }

    /// What `--device` takes.
    pub(crate) fn id(&self) -> String {
        format!("cuda:{}", self.number)
    }

    /// Name and value of what there is to tell.
    pub(crate) fn details(&self) -> Vec<(String, String)> {
        let Abilities { capability, multiprocessors, shared_bytes, memory, .. } = self.abilities;
        let (memory_clock, bits) = self.memory_bus;
        let details = [
            ("memory", format!("{} MiB", memory >> 20)),
            ("compute capability", format!("{}.{}", capability / 10, capability % 10)),
            ("multiprocessors", multiprocessors.to_string()),
            ("shared memory", format!("{} KiB a block", shared_bytes >> 10)),
            ("L2 cache", format!("{} KiB", self.l2_bytes >> 10)),
            ("clock", format!("{} MHz", self.clock / 1000)),
            ("memory bus", format!("{bits} bits at {} MHz", memory_clock / 1000)),
            ("PCI", self.pci.clone()),
        ];
        details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// How many GPUs the driver shows. The driver has started.
///
/// # Errors
/// It does not tell.
pub(crate) fn count() -> Result<usize, Failure> {
    let mut count = 0;
    // SAFETY: the driver writes a number.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn attribute(handle: CUdevice, which: CUdevice_attribute) -> Result<u32, Failure> {
    let mut value = 0;
    // SAFETY: the handle is the driver's, and it writes a number.
    check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&raw mut value, which, handle) })?;
    Ok(value.unsigned_abs())
}

fn name(handle: CUdevice) -> Result<String, Failure> {
    let mut bytes: [c_char; 256] = [0; 256];
    // SAFETY: the driver writes a string of at most so many characters, its end included.
    check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(bytes.as_mut_ptr(), 255, handle) })?;
    Ok(text(&bytes))
}

fn pci(handle: CUdevice) -> Result<String, Failure> {
    let mut bytes: [c_char; 64] = [0; 64];
    // SAFETY: the driver writes a string of at most so many characters, its end included.
    check("cuDeviceGetPCIBusId", unsafe { sys::cuDeviceGetPCIBusId(bytes.as_mut_ptr(), 63, handle) })?;
    Ok(text(&bytes))
}

/// The string at the start; the last byte is zero.
fn text(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|it| it.to_string_lossy().into_owned()).unwrap_or_default()
}
