//! Rewrites that are no fusions.

pub(crate) mod captures;
pub mod constants;
pub mod dead_code;
pub mod duplicates;
pub mod einsum;
pub mod image_scalers;
pub mod no_ops;
pub mod reshapes;
pub mod transposes;
