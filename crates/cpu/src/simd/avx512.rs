//! AVX-512 (F, BW, DQ, VL): 16 lanes, 32 registers, real masks.

use super::isa::Kernel;
use super::vector::Simd;
use std::arch::x86_64::*;

/// Proof that AVX-512 F, BW, DQ and VL, AVX2 and FMA are present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        present.then_some(Avx512(()))
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn enter<K: Kernel>(s: Avx512, kernel: K) -> K::Output {
    kernel.run(s)
}

#[inline(always)]
fn low_bits(n: usize) -> __mmask16 {
    // Shifting a 32-bit one by at most 16 gives 16 ones at most.
    ((1u32 << n.min(16)) - 1) as __mmask16
}

/// Methods whose bodies are intrinsics of the token's features.
macro_rules! ops {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty { $body:expr })*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $ty),*) -> $ret {
            // SAFETY: the token exists only where detection found the features.
            unsafe { $body }
        }
    )*};
}

impl Simd for Avx512 {
    type F32 = __m512;
    type I32 = __m512i;
    type Mask = __mmask16;

    const LANES: usize = 16;
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token exists only where detection found the features.
        unsafe { enter(self, kernel) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f32) -> __m512 {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm512_loadu_ps(src) }
    }
    #[inline(always)]
    unsafe fn load_ptr_first(self, src: *const f32, n: usize) -> __m512 {
        // SAFETY: features by the token; masked-off lanes are not read, the others are vouched for by the caller.
        unsafe { _mm512_maskz_loadu_ps(low_bits(n), src) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, dst: *mut f32, v: __m512) {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm512_storeu_ps(dst, v) }
    }
    #[inline(always)]
    unsafe fn store_ptr_first(self, dst: *mut f32, v: __m512, n: usize) {
        // SAFETY: features by the token; masked-off lanes are not written, the others are vouched for by the caller.
        unsafe { _mm512_mask_storeu_ps(dst, low_bits(n), v) }
    }
    #[inline(always)]
    unsafe fn load_i32_ptr(self, src: *const i32) -> __m512i {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm512_loadu_si512(src.cast()) }
    }
    #[inline(always)]
    unsafe fn store_i32_ptr(self, dst: *mut i32, v: __m512i) {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm512_storeu_si512(dst.cast(), v) }
    }
    #[inline(always)]
    unsafe fn load_u8_ptr(self, src: *const u8) -> __m512i {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(src.cast())) }
    }
    #[inline(always)]
    unsafe fn load_i8_ptr(self, src: *const i8) -> __m512i {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(src.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bytes_ptr(self, dst: *mut u8, v: __m512i) {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm_storeu_si128(dst.cast(), _mm512_cvtepi32_epi8(v)) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: part of the x86-64 baseline; a prefetch of any address is allowed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose_ptr(self, src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
        // SAFETY: features by the token; the caller vouches for the 16 x 16 blocks.
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for (i, r) in r.iter_mut().enumerate() {
                *r = _mm512_loadu_ps(src.add(i * src_stride));
            }
            // Within 128-bit lanes: pairs of floats, then pairs of pairs; column 4 l + c of rows 4 q..4 q + 4 is then
            // lane l of t[4 q + c].
            let mut t = [_mm512_setzero_ps(); 16];
            for q in 0..4 {
                let (a, b, c, d) = (r[4 * q], r[4 * q + 1], r[4 * q + 2], r[4 * q + 3]);
                let ab_lo = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
                let ab_hi = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
                let cd_lo = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
                let cd_hi = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
                t[4 * q] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_lo, cd_lo));
                t[4 * q + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_lo, cd_lo));
                t[4 * q + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_hi, cd_hi));
                t[4 * q + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_hi, cd_hi));
            }
            // Then a 4 x 4 transpose of 128-bit lanes for each c.
            for c in 0..4 {
                let (p, q, u, v) = (t[c], t[4 + c], t[8 + c], t[12 + c]);
                let pq_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(p, q);
                let pq_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(p, q);
                let uv_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(u, v);
                let uv_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(u, v);
                let column = |j: usize| dst.add(j * dst_stride);
                _mm512_storeu_ps(column(c), _mm512_shuffle_f32x4::<0b10_00_10_00>(pq_even, uv_even));
                _mm512_storeu_ps(column(4 + c), _mm512_shuffle_f32x4::<0b10_00_10_00>(pq_odd, uv_odd));
                _mm512_storeu_ps(column(8 + c), _mm512_shuffle_f32x4::<0b11_01_11_01>(pq_even, uv_even));
                _mm512_storeu_ps(column(12 + c), _mm512_shuffle_f32x4::<0b11_01_11_01>(pq_odd, uv_odd));
            }
        }
    }

    ops! {
        fn splat(x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn neg_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fnmadd_ps(a, b, c) }
        fn min(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn neg(a: __m512) -> __m512 { _mm512_xor_ps(a, _mm512_set1_ps(-0.0)) }
        fn abs(a: __m512) -> __m512 { _mm512_abs_ps(a) }
        fn sqrt(a: __m512) -> __m512 { _mm512_sqrt_ps(a) }
        fn round_ties_even(a: __m512) -> __m512 { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        fn floor(a: __m512) -> __m512 { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a) }
        fn ceil(a: __m512) -> __m512 { _mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a) }
        fn trunc(a: __m512) -> __m512 { _mm512_roundscale_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a) }
        fn sum(a: __m512) -> f32 { _mm512_reduce_add_ps(a) }
        fn max_lane(a: __m512) -> f32 { _mm512_reduce_max_ps(a) }
        fn min_lane(a: __m512) -> f32 { _mm512_reduce_min_ps(a) }

        fn eq(a: __m512, b: __m512) -> __mmask16 { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
        fn lt(a: __m512, b: __m512) -> __mmask16 { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
        fn le(a: __m512, b: __m512) -> __mmask16 { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b) }
        fn select(mask: __mmask16, a: __m512, b: __m512) -> __m512 { _mm512_mask_blend_ps(mask, b, a) }
        fn select_i32(mask: __mmask16, a: __m512i, b: __m512i) -> __m512i { _mm512_mask_blend_epi32(mask, b, a) }

        fn splat_i32(x: i32) -> __m512i { _mm512_set1_epi32(x) }
        fn add_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
        fn sub_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_sub_epi32(a, b) }
        fn mul_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_mullo_epi32(a, b) }
        fn and_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_and_si512(a, b) }
        fn or_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
        fn xor_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_xor_si512(a, b) }
        fn eq_i32(a: __m512i, b: __m512i) -> __mmask16 { _mm512_cmpeq_epi32_mask(a, b) }
        fn gt_i32(a: __m512i, b: __m512i) -> __mmask16 { _mm512_cmpgt_epi32_mask(a, b) }
        fn min_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_min_epi32(a, b) }
        fn max_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_max_epi32(a, b) }
        fn to_f32(a: __m512i) -> __m512 { _mm512_cvtepi32_ps(a) }
        fn to_i32_round(a: __m512) -> __m512i { _mm512_cvtps_epi32(a) }
        fn to_i32_trunc(a: __m512) -> __m512i { _mm512_cvttps_epi32(a) }
        fn to_bits(a: __m512) -> __m512i { _mm512_castps_si512(a) }
        fn bits_to_f32(a: __m512i) -> __m512 { _mm512_castsi512_ps(a) }
    }

    #[inline(always)]
    fn first(self, n: usize) -> __mmask16 {
        low_bits(n)
    }
    #[inline(always)]
    fn and(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a & b
    }
    #[inline(always)]
    fn or(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a | b
    }
    #[inline(always)]
    fn not(self, a: __mmask16) -> __mmask16 {
        !a
    }
    #[inline(always)]
    fn any(self, a: __mmask16) -> bool {
        a != 0
    }
    #[inline(always)]
    fn shl_i32<const N: i32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token exists only where detection found the features.
        unsafe { _mm512_sll_epi32(a, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    fn shr_i32<const N: i32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token exists only where detection found the features.
        unsafe { _mm512_sra_epi32(a, _mm_cvtsi32_si128(N)) }
    }
}
