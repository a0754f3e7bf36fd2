//! Where an output of a region goes.

use inferrum_tensor::Tensor;

/// Where an output of a region goes.
#[derive(Debug, Default)]
pub enum Destination<'a> {
    /// A tensor in the host's memory that the device chooses.
    #[default]
    Fresh,
    /// Where the device computes it.
    Stay,
    /// A tensor in this one's memory, if nobody else holds it and it fits; otherwise as [`Destination::Fresh`].
    Reuse(Tensor),
    /// The caller's memory in the host, as many bytes as the output has, in native order. A device computes there if it
    /// can, and copies there once if not.
    Caller(&'a mut [u8]),
}
