//! Rewrites that suit the CPU.

pub(crate) mod channels_last;
mod image_ops;
