//! Matrix products in f32: `C = activation(alpha A B + bias + residual)`.
//!
//! B is packed into *panels*, two vectors wide, so that the inner loop reads it in order. A is read where it lies, a tile
//! of rows at a time, as a `Rows` source describes it: rows at a constant distance, each made of contiguous runs. So a
//! convolution is the same product with another source. Rows that would compete for the same cache sets are copied first.
//! A small B stays in the second-level cache while tiles of A pass; otherwise a block of A stays there while the panels
//! of B pass. Either way what comes next is fetched ahead, at an even pace, by the inner loop.
//!
//! Accumulation is in f32, in order of K within blocks of 512.

mod activation;
mod batch;
mod buffer;
mod driver;
mod epilogue;
mod few;
mod matrix;
mod pack;
mod plan;
mod rows;
mod scratch;
mod tile;

#[cfg(test)]
pub(crate) mod test_data;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use batch::{Batch, Item, Operand, matmul_batch};
pub use buffer::Buffer;
pub use epilogue::{Bias, Epilogue};
pub use matrix::{MatMut, MatRef};
pub use pack::{Packed, PackedB, RawB, Unpacked, packed_len};

pub(crate) use driver::product;
pub(crate) use plan::{RESIDENT_BYTES, rows_per_tile};
pub(crate) use rows::{InPlace, Rows, copy_run, crowded};
pub(crate) use scratch::with_scratch;
pub(crate) use tile::Segment;

use crate::simd::Isa;
use crate::threads::Threads;

/// `C = epilogue(A B)` for a packed B: A is M x K, B K x N, C M x N. Empty dimensions are fine; where K is 0 the product
/// is 0. Panics unless the shapes fit.
pub fn gemm(threads: &Threads, a: MatRef, b: Packed, c: MatMut, epilogue: &Epilogue) {
    product(threads, &a, b.into(), c, epilogue);
}

/// `C = epilogue(A B)` for a B that is used once, such as an activation: packed on the way where that pays. Otherwise as
/// [`gemm`].
pub fn matmul(isa: Isa, threads: &Threads, a: MatRef, b: Unpacked, c: MatMut, epilogue: &Epilogue) {
    match b {
        Unpacked::Transposed(b) if a.rows <= few::ROWS => few::dots(isa, threads, a, b, c, epilogue),
        Unpacked::Normal(b) if a.rows <= few::ROWS_IN_PLACE => few::in_place(isa, threads, a, b, c, epilogue),
        _ => with_scratch(packed_len(isa, b.depth(), b.cols()), |buffer| {
            gemm(threads, a, Packed::pack(isa, threads, b, buffer), c, epilogue);
        }),
    }
}
