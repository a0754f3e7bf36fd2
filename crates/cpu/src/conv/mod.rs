//! Convolution and pooling of channels-last (NHWC) f32 images; 1-D is the case of height 1.
//!
//! A convolution is a matrix product whose rows are output pixels: row (n, oh, ow) of A holds the window of the input
//! under that pixel, in order (kh, kw, channel). In a channels-last image with its padding around it, windows of
//! neighbouring pixels are a fixed distance apart and consist of few contiguous runs, so the product reads them in place;
//! only padding costs a copy, made a band of rows at a time while it stays in the cache. Depthwise convolution and
//! pooling are loops over windows, vectorised over channels.

mod dense;
mod depthwise;
mod filter;
mod lone;
mod pad;
mod planar;
mod pool;
mod rows;
mod transposed;
mod window;

#[cfg(test)]
mod tests;

pub use dense::{Conv, Input, conv2d};
pub use filter::Filter;
pub use planar::Planar;
pub use pool::{average_pool, global_average_pool, max_pool};
pub use transposed::{ConvTranspose, TransposedFilter, conv_transpose2d};
pub use window::Window;
