//! The waist between Inferrum's graph and its devices.
//!
//! A [`Backend`] claims nodes, compiles regions of a graph whose shapes are all known into [`Executable`]s, and runs
//! them on tensors. Nothing above it knows devices; nothing below it knows models.

pub mod attention;
mod backend;
mod bound_node;
mod cache;
mod channels_first;
mod context;
pub mod copies;
mod destination;
mod device;
mod device_failure;
mod kernel_table;
mod loops;
mod memory;
mod placement;
mod precision;
mod profile;
mod region;
mod resident;
mod retype;
mod stand_in;
#[cfg(feature = "testing")]
pub mod testing;
mod transfers;

pub use backend::{Backend, BackendError, Cost, Decline, Executable};
pub use bound_node::BoundNode;
pub use cache::{CACHE_VARIABLE, Cache};
pub use channels_first::channels_first;
pub use context::{RunContext, Stop};
pub use destination::Destination;
pub use device::{Device, DeviceInfo, DeviceParseError, Unusable};
pub use device_failure::DeviceFailure;
pub use kernel_table::{KernelRow, KernelTable};
pub use loops::{Loops, MAX_OPERANDS, MAX_RANK, broadcast_strides, dense_strides};
pub use memory::{Lifetime, place};
pub use placement::{NodePlacement, Placement};
pub use precision::{Precision, PrecisionParseError};
pub use profile::{Profile, Span};
pub use region::Region;
pub use resident::{DeviceTensor, Resident};
pub use retype::{narrow, widen, widen_unless};
pub use stand_in::tried;
pub use transfers::{Crossing, Transfer, TransferLog, Transfers};
