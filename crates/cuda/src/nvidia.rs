//! NVIDIA's driver, compiler and libraries, opened at run time: nothing of them is needed to build.

mod api;
mod architecture;
mod compiler;
mod context;
mod cublas_lt;
mod device;
mod driver;
mod dynamic;
mod gpu;
mod graph;
mod libraries;
mod limit;
mod memory;
mod module;
mod nvrtc;
mod open;
mod optional;
mod pinned;
mod places;
mod probe;
mod products;
mod progress;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use limit::MEMORY_VARIABLE;
pub(crate) use open::open;
pub use probe::devices;
