//! CPU kernels and backend of Inferrum.

pub mod conv;
pub mod gemm;
pub mod simd;
pub mod threads;
