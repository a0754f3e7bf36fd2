//! What took how long.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The time that one node took in one run.
#[derive(Clone, Debug)]
pub struct Span {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The kernel's name.
    pub kernel: String,
    /// From the start of the profile to the start of the node.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Shape of the first output.
    pub shape: String,
}

/// Collects spans of the runs that carry it.
#[derive(Debug)]
pub struct Profile {
    start: Instant,
    spans: Mutex<Vec<Span>>,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile { start: Instant::now(), spans: Mutex::default() }
    }
}

impl Profile {
    /// An empty profile that starts now.
    pub fn new() -> Profile {
        Profile::default()
    }

    /// Time since the profile's start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Adds a span.
    pub fn record(&self, span: Span) {
        self.spans.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(span);
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}
