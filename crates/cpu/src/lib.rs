//! CPU kernels and backend of Inferrum.
