//! What a device can do, as lowering asks for it.

/// What a device can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// Compute capability: 90 is 9.0.
    pub(crate) capability: u32,
    /// Multiprocessors.
    pub(crate) multiprocessors: u32,
    /// Bytes of shared memory that a block may ask for at a launch.
    pub(crate) shared_bytes: u32,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Whether products of float32 may round their factors to TensorFloat-32: the user asked for it.
    pub(crate) tf32: bool,
}
