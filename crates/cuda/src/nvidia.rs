//! NVIDIA's driver, compiler and libraries, opened at run time: nothing of them is needed to build.

mod api;
mod architecture;
mod compiler;
mod context;
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
mod progress;
mod stream;

pub(crate) use architecture::Architecture;
pub(crate) use compiler::Compiler;
pub(crate) use driver::NvidiaDriver;
pub(crate) use limit::MEMORY_VARIABLE;
pub(crate) use nvrtc::Nvrtc;
pub(crate) use open::open;
pub use probe::devices;
