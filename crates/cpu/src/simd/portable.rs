//! Plain Rust on arrays of four: always available, and vectorised by the compiler for its baseline.

use super::isa::Kernel;
use super::vector::Simd;

/// The instruction set that needs no proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable(());

impl Portable {
    pub(super) fn new() -> Self {
        Portable(())
    }
}

/// Four lanes, aligned like the baseline vector registers of common targets.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(super) struct Lanes<T>([T; 4]);

/// Lane-wise methods: `|lane of each argument| result`.
macro_rules! lanes {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty { $body:expr })*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Lanes<$ty>),*) -> Lanes<$ret> {
            Lanes(std::array::from_fn(
                #[inline(always)]
                |i| {
                    $(let $arg = $arg.0[i];)*
                    $body
                },
            ))
        }
    )*};
}

impl Simd for Portable {
    type F32 = Lanes<f32>;
    type I32 = Lanes<i32>;
    type Mask = Lanes<bool>;

    const LANES: usize = 4;
    const REGISTERS: usize = 16;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        enter(self, kernel)
    }

    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f32) -> Lanes<f32> {
        // SAFETY: the caller vouches for four floats; arrays of f32 need no more alignment than f32.
        Lanes(unsafe { src.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_ptr_first(self, src: *const f32, n: usize) -> Lanes<f32> {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller vouches for min(n, 4) floats, which also fit the array.
        unsafe { std::ptr::copy_nonoverlapping(src, lanes.as_mut_ptr(), n.min(4)) };
        Lanes(lanes)
    }
    #[inline(always)]
    unsafe fn store_ptr(self, dst: *mut f32, v: Lanes<f32>) {
        // SAFETY: the caller vouches for four floats.
        unsafe { dst.cast::<[f32; 4]>().write_unaligned(v.0) }
    }
    #[inline(always)]
    unsafe fn store_ptr_first(self, dst: *mut f32, v: Lanes<f32>, n: usize) {
        // SAFETY: the caller vouches for min(n, 4) floats, which the array holds too.
        unsafe { std::ptr::copy_nonoverlapping(v.0.as_ptr(), dst, n.min(4)) }
    }
    #[inline(always)]
    unsafe fn load_i32_ptr(self, src: *const i32) -> Lanes<i32> {
        // SAFETY: the caller vouches for four integers.
        Lanes(unsafe { src.cast::<[i32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_i32_ptr(self, dst: *mut i32, v: Lanes<i32>) {
        // SAFETY: the caller vouches for four integers.
        unsafe { dst.cast::<[i32; 4]>().write_unaligned(v.0) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes<f32> {
        Lanes([x; 4])
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Lanes<i32> {
        Lanes([x; 4])
    }
    #[inline(always)]
    fn first(self, n: usize) -> Lanes<bool> {
        Lanes(std::array::from_fn(|i| i < n))
    }
    #[inline(always)]
    fn any(self, a: Lanes<bool>) -> bool {
        a.0[0] | a.0[1] | a.0[2] | a.0[3]
    }
    #[inline(always)]
    fn sum(self, a: Lanes<f32>) -> f32 {
        (a.0[0] + a.0[2]) + (a.0[1] + a.0[3])
    }
    #[inline(always)]
    fn max_lane(self, a: Lanes<f32>) -> f32 {
        a.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    fn min_lane(self, a: Lanes<f32>) -> f32 {
        a.0.into_iter().fold(f32::INFINITY, f32::min)
    }
    #[inline(always)]
    fn shl_i32<const N: i32>(self, a: Lanes<i32>) -> Lanes<i32> {
        Lanes(a.0.map(|a| a << N))
    }
    #[inline(always)]
    fn shr_i32<const N: i32>(self, a: Lanes<i32>) -> Lanes<i32> {
        Lanes(a.0.map(|a| a >> N))
    }

    lanes! {
        fn add(a: f32, b: f32) -> f32 { a + b }
        fn sub(a: f32, b: f32) -> f32 { a - b }
        fn mul(a: f32, b: f32) -> f32 { a * b }
        fn div(a: f32, b: f32) -> f32 { a / b }
        // Unfused: without hardware support a fused one is a library call.
        fn mul_add(a: f32, b: f32, c: f32) -> f32 { a * b + c }
        fn neg_mul_add(a: f32, b: f32, c: f32) -> f32 { c - a * b }
        fn min(a: f32, b: f32) -> f32 { if a < b { a } else { b } }
        fn max(a: f32, b: f32) -> f32 { if a > b { a } else { b } }
        fn neg(a: f32) -> f32 { -a }
        fn abs(a: f32) -> f32 { a.abs() }
        fn sqrt(a: f32) -> f32 { a.sqrt() }
        fn round_ties_even(a: f32) -> f32 { a.round_ties_even() }
        fn floor(a: f32) -> f32 { a.floor() }
        fn ceil(a: f32) -> f32 { a.ceil() }
        fn trunc(a: f32) -> f32 { a.trunc() }

        fn eq(a: f32, b: f32) -> bool { a == b }
        fn lt(a: f32, b: f32) -> bool { a < b }
        fn le(a: f32, b: f32) -> bool { a <= b }
        fn and(a: bool, b: bool) -> bool { a & b }
        fn or(a: bool, b: bool) -> bool { a | b }
        fn not(a: bool) -> bool { !a }
        fn select(mask: bool, a: f32, b: f32) -> f32 { if mask { a } else { b } }
        fn select_i32(mask: bool, a: i32, b: i32) -> i32 { if mask { a } else { b } }

        fn add_i32(a: i32, b: i32) -> i32 { a.wrapping_add(b) }
        fn sub_i32(a: i32, b: i32) -> i32 { a.wrapping_sub(b) }
        fn mul_i32(a: i32, b: i32) -> i32 { a.wrapping_mul(b) }
        fn and_i32(a: i32, b: i32) -> i32 { a & b }
        fn or_i32(a: i32, b: i32) -> i32 { a | b }
        fn xor_i32(a: i32, b: i32) -> i32 { a ^ b }
        fn eq_i32(a: i32, b: i32) -> bool { a == b }
        fn gt_i32(a: i32, b: i32) -> bool { a > b }
        fn min_i32(a: i32, b: i32) -> i32 { a.min(b) }
        fn max_i32(a: i32, b: i32) -> i32 { a.max(b) }
        fn to_f32(a: i32) -> f32 { a as f32 }
        fn to_i32_round(a: f32) -> i32 { a.round_ties_even() as i32 }
        fn to_i32_trunc(a: f32) -> i32 { a as i32 }
        fn to_bits(a: f32) -> i32 { a.to_bits() as i32 }
        fn bits_to_f32(a: i32) -> f32 { f32::from_bits(a as u32) }
    }
}

#[inline(never)]
fn enter<K: Kernel>(s: Portable, kernel: K) -> K::Output {
    kernel.run(s)
}
