//! CPU kernels and backend of Inferrum.

pub mod simd;
