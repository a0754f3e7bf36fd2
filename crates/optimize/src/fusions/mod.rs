//! Fusions: several operators become one.

pub mod activations;
pub mod conv;
pub mod elementwise;
mod epilogue;
pub mod layer_norm;
pub mod linear;

#[cfg(test)]
pub(crate) mod testing;
