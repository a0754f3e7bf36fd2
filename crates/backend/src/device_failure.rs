//! What a device fails of.

/// Why something that ran on a device, or was to run there, does not go on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFailure {
    /// The device has no memory for something of the model.
    #[error("{device} has no memory for {what}: {needed} bytes; {reason}")]
    NoMemory {
        /// The device's id.
        device: String,
        /// What the memory is for, with the names of value and node.
        what: String,
        /// The node that computes the value, or reads it first.
        node: Option<String>,
        /// The value.
        value: Option<String>,
        /// Bytes that it takes.
        needed: usize,
        /// The limit, or what the driver says.
        reason: String,
    },
    /// The device is gone, or its driver has failed; what is on it is lost. A new session opens it again.
    #[error("device `{device}` was lost{during}: {reason}; make a new session to go on")]
    Lost {
        /// The device's id.
        device: String,
        /// What the driver says.
        reason: String,
        /// Which nodes ran then, as ` while ... ran`; empty if none did.
        during: String,
    },
    /// The device's driver refuses the kernel of a node.
    #[error("node `{node}` ({op}): {device} refuses its kernel: {reason}")]
    Kernel {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// The device's id.
        device: String,
        /// What the driver says.
        reason: String,
    },
}
