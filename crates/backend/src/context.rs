//! What every run carries along.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::{BackendError, Profile, TransferLog};

/// What a run carries along.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunContext<'a> {
    /// When to give up.
    pub stop: Option<&'a Stop>,
    /// Where to note what took how long.
    pub profile: Option<&'a Profile>,
    /// Where to note what crosses between the host and a device.
    pub transfers: Option<&'a TransferLog>,
}

/// When a run gives up: on demand, or at a moment.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Stops only when asked to.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Stops at `deadline`, or when asked to.
    pub fn at(deadline: Instant) -> Stop {
        Stop { deadline: Some(deadline), ..Stop::default() }
    }

    /// Asks the runs that carry this, or a clone of it, to give up at the next node.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

impl RunContext<'_> {
    /// An error if the run should give up now.
    ///
    /// # Errors
    /// [`BackendError::Stopped`].
    pub fn check(&self) -> Result<(), BackendError> {
        let Some(stop) = self.stop else { return Ok(()) };
        if stop.flag.load(Ordering::Relaxed) {
            return Err(BackendError::Stopped("cancelled by the caller"));
        }
        match stop.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(BackendError::Stopped("its deadline passed")),
            _ => Ok(()),
        }
    }
}
