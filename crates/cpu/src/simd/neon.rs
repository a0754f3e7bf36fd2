//! NEON (AArch64 Advanced SIMD): 4 lanes, 32 registers, masks as vectors of all-ones or all-zeros.

use super::isa::Kernel;
use super::vector::Simd;
use std::arch::aarch64::*;

/// Proof that NEON is present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

#[inline(never)]
#[target_feature(enable = "neon")]
fn enter<K: Kernel>(s: Neon, kernel: K) -> K::Output {
    kernel.run(s)
}

/// Methods whose bodies are intrinsics of the token's features.
macro_rules! ops {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty { $body:expr })*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $ty),*) -> $ret {
            // SAFETY: the token exists only where detection found the feature.
            unsafe { $body }
        }
    )*};
}

impl Simd for Neon {
    type F32 = float32x4_t;
    type I32 = int32x4_t;
    type Mask = uint32x4_t;

    const LANES: usize = 4;
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token exists only where detection found the feature.
        unsafe { enter(self, kernel) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f32) -> float32x4_t {
        // SAFETY: feature by the token, memory by the caller.
        unsafe { vld1q_f32(src) }
    }
    #[inline(always)]
    unsafe fn load_ptr_first(self, src: *const f32, n: usize) -> float32x4_t {
        let mut lanes = [0.0; 4];
        // SAFETY: feature by the token; the caller vouches for min(n, 4) floats, which also fit the array.
        unsafe {
            std::ptr::copy_nonoverlapping(src, lanes.as_mut_ptr(), n.min(4));
            vld1q_f32(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, dst: *mut f32, v: float32x4_t) {
        // SAFETY: feature by the token, memory by the caller.
        unsafe { vst1q_f32(dst, v) }
    }
    #[inline(always)]
    unsafe fn store_ptr_first(self, dst: *mut f32, v: float32x4_t, n: usize) {
        let mut lanes = [0.0; 4];
        // SAFETY: feature by the token; the caller vouches for min(n, 4) floats, which the array holds too.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), dst, n.min(4));
        }
    }
    #[inline(always)]
    unsafe fn load_i32_ptr(self, src: *const i32) -> int32x4_t {
        // SAFETY: feature by the token, memory by the caller.
        unsafe { vld1q_s32(src) }
    }
    #[inline(always)]
    unsafe fn store_i32_ptr(self, dst: *mut i32, v: int32x4_t) {
        // SAFETY: feature by the token, memory by the caller.
        unsafe { vst1q_s32(dst, v) }
    }

    ops! {
        fn splat(x: f32) -> float32x4_t { vdupq_n_f32(x) }
        fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t { vaddq_f32(a, b) }
        fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t { vsubq_f32(a, b) }
        fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t { vmulq_f32(a, b) }
        fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t { vdivq_f32(a, b) }
        fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t { vfmaq_f32(c, a, b) }
        fn neg_mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t { vfmsq_f32(c, a, b) }
        // Not vminq/vmaxq: those return NaN where the trait asks for the second operand.
        fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t { vbslq_f32(vcltq_f32(a, b), a, b) }
        fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t { vbslq_f32(vcgtq_f32(a, b), a, b) }
        fn neg(a: float32x4_t) -> float32x4_t { vnegq_f32(a) }
        fn abs(a: float32x4_t) -> float32x4_t { vabsq_f32(a) }
        fn sqrt(a: float32x4_t) -> float32x4_t { vsqrtq_f32(a) }
        fn round_ties_even(a: float32x4_t) -> float32x4_t { vrndnq_f32(a) }
        fn floor(a: float32x4_t) -> float32x4_t { vrndmq_f32(a) }
        fn ceil(a: float32x4_t) -> float32x4_t { vrndpq_f32(a) }
        fn trunc(a: float32x4_t) -> float32x4_t { vrndq_f32(a) }
        fn sum(a: float32x4_t) -> f32 { vaddvq_f32(a) }
        fn max_lane(a: float32x4_t) -> f32 { vmaxvq_f32(a) }
        fn min_lane(a: float32x4_t) -> f32 { vminvq_f32(a) }

        fn eq(a: float32x4_t, b: float32x4_t) -> uint32x4_t { vceqq_f32(a, b) }
        fn lt(a: float32x4_t, b: float32x4_t) -> uint32x4_t { vcltq_f32(a, b) }
        fn le(a: float32x4_t, b: float32x4_t) -> uint32x4_t { vcleq_f32(a, b) }
        fn and(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t { vandq_u32(a, b) }
        fn or(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t { vorrq_u32(a, b) }
        fn not(a: uint32x4_t) -> uint32x4_t { vmvnq_u32(a) }
        fn any(a: uint32x4_t) -> bool { vmaxvq_u32(a) != 0 }
        fn select(mask: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t { vbslq_f32(mask, a, b) }
        fn select_i32(mask: uint32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t { vbslq_s32(mask, a, b) }

        fn splat_i32(x: i32) -> int32x4_t { vdupq_n_s32(x) }
        fn add_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vaddq_s32(a, b) }
        fn sub_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vsubq_s32(a, b) }
        fn mul_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vmulq_s32(a, b) }
        fn and_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vandq_s32(a, b) }
        fn or_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vorrq_s32(a, b) }
        fn xor_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { veorq_s32(a, b) }
        fn eq_i32(a: int32x4_t, b: int32x4_t) -> uint32x4_t { vceqq_s32(a, b) }
        fn gt_i32(a: int32x4_t, b: int32x4_t) -> uint32x4_t { vcgtq_s32(a, b) }
        fn min_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vminq_s32(a, b) }
        fn max_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t { vmaxq_s32(a, b) }
        fn to_f32(a: int32x4_t) -> float32x4_t { vcvtq_f32_s32(a) }
        fn to_i32_round(a: float32x4_t) -> int32x4_t { vcvtnq_s32_f32(a) }
        fn to_i32_trunc(a: float32x4_t) -> int32x4_t { vcvtq_s32_f32(a) }
        fn to_bits(a: float32x4_t) -> int32x4_t { vreinterpretq_s32_f32(a) }
        fn bits_to_f32(a: int32x4_t) -> float32x4_t { vreinterpretq_f32_s32(a) }
    }

    #[inline(always)]
    fn first(self, n: usize) -> uint32x4_t {
        let lane = [0u32, 1, 2, 3];
        // SAFETY: feature by the token; the array holds four lanes.
        unsafe { vcltq_u32(vld1q_u32(lane.as_ptr()), vdupq_n_u32(n.min(4) as u32)) }
    }
    #[inline(always)]
    fn shl_i32<const N: i32>(self, a: int32x4_t) -> int32x4_t {
        // SAFETY: the token exists only where detection found the feature.
        unsafe { vshlq_s32(a, vdupq_n_s32(N)) }
    }
    #[inline(always)]
    fn shr_i32<const N: i32>(self, a: int32x4_t) -> int32x4_t {
        // SAFETY: the token exists only where detection found the feature.
        unsafe { vshlq_s32(a, vdupq_n_s32(-N)) }
    }
}
