//! Portable SIMD: instruction-set tokens, one vector trait, and run-time dispatch. Sole home of arch intrinsics.
//!
//! A kernel is written once, generically over [`Simd`], and compiled once per instruction set:
//!
//! ```
//! use inferrum_cpu::simd::{Isa, Kernel, Simd};
//!
//! /// `out[i] = 2 * x[i]`.
//! struct Double<'a>(&'a [f32], &'a mut [f32]);
//!
//! impl Kernel for Double<'_> {
//!     type Output = ();
//!     #[inline(always)]
//!     fn run<S: Simd>(self, s: S) {
//!         let two = s.splat(2.0);
//!         inferrum_cpu::simd::map(s, self.0, self.1, |x| s.mul(x, two));
//!     }
//! }
//!
//! let mut out = [0.0; 3];
//! Isa::best().dispatch(Double(&[1.0, 2.0, 3.0], &mut out));
//! assert_eq!(out, [2.0, 4.0, 6.0]);
//! ```
//!
//! Everything between [`Isa::dispatch`] (or [`Simd::call`]) and the vector operations must be inlined, or the
//! operations turn into function calls: mark `run` and every generic function that takes a token `#[inline(always)]`.
//! To keep a big piece of code out of line, make it a [`Kernel`] of its own and enter it by [`Simd::call`].

pub mod activation;
mod isa;
pub mod math;
pub(crate) mod peak;
mod portable;
mod slices;
mod vector;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
mod tests;

pub use isa::{Isa, Kernel};
pub use slices::{fold, map, map_in_place, zip, zip_in_place};
pub use vector::Simd;
