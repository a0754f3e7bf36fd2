//! Memory of a device, given back when nobody holds it.

use std::sync::Arc;

use inferrum_backend::BackendError;

use crate::driver::{Address, Driver};

/// A piece of a device's memory.
pub(crate) struct Memory {
    driver: Arc<dyn Driver>,
    address: Address,
    bytes: usize,
}

impl Memory {
    /// `bytes` of memory, whose content is anything.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    pub(crate) fn take(driver: &Arc<dyn Driver>, bytes: usize) -> Result<Memory, BackendError> {
        let address = driver.allocate(bytes.max(1))?;
        Ok(Memory { driver: Arc::clone(driver), address, bytes: bytes.max(1) })
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.driver.free(self.address, self.bytes);
    }
}
