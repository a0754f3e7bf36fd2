//! CPU kernels and backend of Inferrum.

mod arena;
mod backend;
mod compile;
mod executor;
mod fallback;
pub mod gemm;
pub mod kernel;
mod memory;
mod peak;
pub mod simd;
#[cfg(test)]
mod testing;
pub mod threads;
mod weights;

pub use backend::CpuBackend;
pub use weights::Weights;

use inferrum_backend::KernelRow;

use crate::backend::row;
use crate::kernel::Lower;

/// The table of kernels: `room: operator type, ...;`. The room's function `lower` makes the kernel.
macro_rules! kernels {
    ($($room:ident: $($op:ty),+;)*) => {
        $(mod $room;)*
        pub(crate) const KERNELS: &[KernelRow<Lower>] = &[$($(row::<$op>(stringify!($room), |op, lowering| {
            match op.downcast_ref::<$op>() {
                Some(op) => $room::lower(op, lowering),
                None => Err(inferrum_backend::Decline("another operator".into())),
            }
        })),+),*];
    };
}

kernels! {
    softmax: inferrum_ops::softmax::Softmax;
    view: inferrum_ops::reshape::Reshape;
}
