//! Fusions: several operators become one.

pub mod activations;
pub mod attention;
pub mod conv;
pub mod dynamic_products;
pub mod elementwise;
mod epilogue;
pub mod integer_products;
pub mod layer_norm;
pub mod linear;
pub mod ordered_sums;
pub mod quantized;
pub mod tables;

#[cfg(test)]
pub(crate) mod testing;
