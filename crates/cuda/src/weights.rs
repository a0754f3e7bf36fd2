//! Constants in the device's memory, each form once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use inferrum_backend::BackendError;
use inferrum_tensor::Tensor;

use crate::driver::Driver;
use crate::kernel::Pack;
use crate::memory::Memory;
use crate::transfer;

/// The constants of a session.
#[derive(Default)]
pub(crate) struct Weights {
    held: Mutex<HashMap<Key, Held>>,
}

/// Where a constant is on the host, how many bytes it has, and its form; the tensor is held, so that the address stays its own.
type Key = (usize, usize, String);

struct Held {
    memory: Arc<Memory>,
    _of: Tensor,
}

impl Weights {
    /// A constant as it is, or packed.
    ///
    /// # Errors
    /// No memory, or it cannot be packed.
    pub(crate) fn get(
        &self,
        driver: &Arc<dyn Driver>,
        tensor: &Tensor,
        packing: Option<(&str, &Pack)>,
    ) -> Result<Arc<Memory>, BackendError> {
        let bytes = tensor.bytes();
        let form = packing.map_or("", |(form, _)| form);
        let key = (bytes.as_ptr().addr(), bytes.len(), form.to_owned());
        let lock = || self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(held) = lock().get(&key) {
            return Ok(Arc::clone(&held.memory));
        }
        let packed = packing.map(|(_, pack)| pack(tensor)).transpose();
        let packed = packed.map_err(|error| BackendError::Device(error.to_string()))?;
        let bytes = packed.as_deref().unwrap_or(bytes);
        let memory = Arc::new(Memory::take(driver, bytes.len())?);
        transfer::upload(driver, memory.address(), bytes)?;
        tensor.release();
        lock().insert(key, Held { memory: Arc::clone(&memory), _of: tensor.clone() });
        Ok(memory)
    }

    /// Bytes of all that is held.
    pub(crate) fn bytes(&self) -> usize {
        let held = self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        held.values().map(|held| held.memory.bytes()).sum()
    }
}
