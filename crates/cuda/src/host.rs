//! CUDA on the host: kernels compiled by g++ and run by fibers (`kernels/host/`), so that tests need no GPU.
//!
//! A launch is done when the call returns, and what goes wrong in it is known at once: an access beyond a buffer (pages that nobody
//! may touch stand around each), threads that wait for ever, arguments that are not the kernel's. After such a failure the driver
//! refuses all work, as a device does after an illegal access; a new one starts afresh.

mod compile;
mod memory;
mod runner;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use inferrum_backend::BackendError;

use crate::abilities::Abilities;
use crate::driver::{self, Address, Function, Pinned};
use crate::library::{Prepared, Product};
use crate::source::Source;
use memory::Memory;
use runner::Runner;

/// The device's id.
pub(crate) const DEVICE: &str = "cuda:host";

/// The host as a device.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    abilities: Abilities,
    /// Whether it has a library of products: their reference.
    library: bool,
}

/// What driver, streams and graphs have in common.
pub(crate) struct Shared {
    runner: &'static Runner,
    memory: Mutex<Memory>,
    pinned: memory::PinnedTable,
    /// The first failure.
    failure: Mutex<Option<String>>,
}

impl Driver {
    /// A device of compute capability 8.0 with 4 GiB of memory.
    ///
    /// # Errors
    /// There is no C++ compiler, or the system is not Linux.
    pub(crate) fn new() -> Result<Driver, BackendError> {
        Driver::with(Abilities {
            capability: 80,
            multiprocessors: 4,
            shared_bytes: 99 << 10,
            memory: 4 << 30,
            tf32: false,
        })
    }

    /// A device that says it can do this, and whose memory ends where it says.
    ///
    /// # Errors
    /// There is no C++ compiler, or the system is not Linux.
    pub(crate) fn with(abilities: Abilities) -> Result<Driver, BackendError> {
        let runner = Runner::get().map_err(BackendError::Device)?;
        let shared = Shared {
            runner,
            memory: Mutex::new(Memory::new(runner, abilities.memory)),
            pinned: memory::PinnedTable::default(),
            failure: Mutex::new(None),
        };
        Ok(Driver { shared: Arc::new(shared), abilities, library: false })
    }

    /// The same with a library of products, which computes them by their reference.
    pub(crate) fn with_library(self) -> Driver {
        Driver { library: true, ..self }
    }
}

impl Shared {
    /// # Errors
    /// The device has failed before.
    fn check(&self) -> Result<(), BackendError> {
        match &*self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(reason) => Err(lost(reason.clone())),
            None => Ok(()),
        }
    }

    /// The device has failed: it refuses all from now on.
    fn fail(&self, reason: String) -> BackendError {
        self.failure
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .get_or_insert_with(|| reason.clone());
        lost(reason)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn lost(reason: String) -> BackendError {
    inferrum_backend::DeviceFailure::Lost { device: DEVICE.into(), reason, during: String::new() }.into()
}

impl driver::Driver for Driver {
    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    fn load(&self, sources: &[&Source]) -> Vec<Result<Function, BackendError>> {
        compile::load(sources)
    }

    fn allocate(&self, bytes: usize) -> Result<Address, BackendError> {
        self.shared.check()?;
        self.shared.memory().allocate(bytes)
    }

    fn free(&self, address: Address, bytes: usize) {
        let freed = self.shared.memory().free(address, bytes);
        if let Err(reason) = freed {
            log::error!("{DEVICE}: {reason}");
            self.shared.fail(reason);
        }
    }

    fn pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>, BackendError> {
        Ok(Box::new(self.shared.pinned.allocate(bytes)))
    }

    fn stream(&self) -> Result<Box<dyn driver::Stream>, BackendError> {
        self.shared.check()?;
        Ok(Box::new(stream::Stream::new(Arc::clone(&self.shared))))
    }

    fn product(&self, product: &Product) -> Result<Option<Arc<dyn Prepared>>, BackendError> {
        Ok(self.library.then(|| Arc::new(stream::Reference(*product)) as Arc<dyn Prepared>))
    }

    fn allocated(&self) -> (usize, usize) {
        self.shared.memory().allocated()
    }
}
