//! Matrix products in f32: `C = activation(alpha A B + bias + residual)`.
//!
//! B is packed into *panels*, two vectors wide, so that the inner loop reads it in order. A is read where it lies, by a
//! [`rows`] source: a few rows at a time are copied into a scratch tile that stays in the first-level cache while all
//! panels of a block of B pass by. So a convolution is the same product with another source of rows.
//!
//! Accumulation is in f32, in order of K within blocks of [`tile::K_BLOCK`].

mod activation;
mod buffer;
mod driver;
mod epilogue;
mod matrix;
mod pack;
mod plan;
mod rows;
mod scratch;
mod tile;

pub use activation::Activation;
pub use buffer::Buffer;
pub use epilogue::{Bias, Epilogue};
pub use matrix::{MatMut, MatRef};
pub use pack::{Packed, PackedB, Unpacked, packed_len};

use crate::threads::Threads;

/// `C = epilogue(A B)` for a packed B: A is M x K, B K x N, C M x N. Empty dimensions are fine; where K is 0 the product
/// is 0. Panics unless the shapes fit.
pub fn gemm(threads: &Threads, a: MatRef, b: Packed, c: MatMut, epilogue: &Epilogue) {
    driver::product(threads, &a, b, c, epilogue);
}
