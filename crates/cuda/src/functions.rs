//! Compiled kernels of a device, each once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use inferrum_backend::BackendError;

use crate::driver::{Driver, Function};
use crate::source::Source;

/// The kernels that all sessions on a device share.
#[derive(Default)]
pub(crate) struct Functions {
    loaded: Mutex<HashMap<Source, Function>>,
}

/// The kernels of the devices that sessions have open, by driver.
static OPEN: Mutex<Vec<(Weak<dyn Driver>, Weak<Functions>)>> = Mutex::new(Vec::new());

impl Functions {
    /// Those of a driver.
    pub(crate) fn of(driver: &Arc<dyn Driver>) -> Arc<Functions> {
        let mut open = OPEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        open.retain(|(driver, functions)| driver.strong_count() > 0 && functions.strong_count() > 0);
        let same =
            |(other, _): &&(Weak<dyn Driver>, _)| std::ptr::addr_eq(other.as_ptr(), Arc::as_ptr(driver));
        if let Some(held) = open.iter().find(same).and_then(|(_, functions)| functions.upgrade()) {
            return held;
        }
        let functions = Arc::new(Functions::default());
        open.push((Arc::downgrade(driver), Arc::downgrade(&functions)));
        functions
    }

    /// The function of each source; what is missing is compiled, all together.
    ///
    /// # Errors
    /// Of each source: as [`Driver::load`].
    pub(crate) fn get(
        &self,
        driver: &dyn Driver,
        sources: &[&Source],
    ) -> Vec<Result<Function, BackendError>> {
        let lock = || self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut missing: Vec<&Source> = Vec::new();
        {
            let loaded = lock();
            for &source in sources {
                if !loaded.contains_key(source) && !missing.contains(&source) {
                    missing.push(source);
                }
            }
        }
        // Compiled without the lock: another session may be doing the same, and the later one wins.
        let made: HashMap<&Source, Result<Function, BackendError>> =
            missing.iter().copied().zip(driver.load(&missing)).collect();
        let mut loaded = lock();
        for (source, function) in &made {
            if let Ok(function) = function {
                loaded.insert((*source).clone(), function.clone());
            }
        }
        let found = |source: &&Source| match loaded.get(*source) {
            Some(function) => Ok(function.clone()),
            None => made.get(*source).cloned().unwrap_or_else(|| {
                Err(BackendError::Device(format!("kernel `{}` was not compiled", source.entry)))
            }),
        };
        sources.iter().map(found).collect()
    }
}
