//! NVIDIA GPUs as an Inferrum backend.
//!
//! A region becomes a list of launches over an arena (`compile.rs`), which is recorded once as a CUDA graph and replayed
//! (`executor.rs`). Kernels are CUDA C++ sources in `kernels/`, made for types and switches by the room of the same name here and
//! compiled at run time. What runs them is behind `driver.rs`: NVIDIA's driver (`nvidia/`), or in tests the host (`host/`).

mod abilities;
mod driver;
#[allow(dead_code, unused_imports, reason = "the backend that uses it is on its way")]
mod nvidia;
mod source;

pub use nvidia::devices;
