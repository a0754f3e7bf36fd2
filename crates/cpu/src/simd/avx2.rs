//! AVX2 with FMA: 8 lanes, 16 registers, masks as vectors of all-ones or all-zeros.

use super::isa::Kernel;
use super::vector::Simd;
use std::arch::x86_64::*;

/// Proof that AVX2 and FMA are present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        present.then_some(Avx2(()))
    }

    /// All-ones in the first `n` lanes.
    #[inline(always)]
    fn first_lanes(self, n: usize) -> __m256i {
        // SAFETY: the token exists only where detection found the features.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), lane)
        }
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn enter<K: Kernel>(s: Avx2, kernel: K) -> K::Output {
    kernel.run(s)
}

/// Folds 8 lanes to one by a 128-bit and a scalar form of the same operation.
macro_rules! reduce {
    ($a:expr, $wide:ident, $scalar:ident) => {{
        let half = $wide(_mm256_castps256_ps128($a), _mm256_extractf128_ps::<1>($a));
        let quarter = $wide(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32($scalar(quarter, _mm_movehdup_ps(quarter)))
    }};
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

impl Simd for Avx2 {
    type F32 = __m256;
    type I32 = __m256i;
    type Mask = __m256i;

    const LANES: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token exists only where detection found the features.
        unsafe { enter(self, kernel) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, src: *const f32) -> __m256 {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm256_loadu_ps(src) }
    }
    #[inline(always)]
    unsafe fn load_ptr_first(self, src: *const f32, n: usize) -> __m256 {
        // SAFETY: features by the token; masked-off lanes are not read, the others are vouched for by the caller.
        unsafe { _mm256_maskload_ps(src, self.first_lanes(n)) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, dst: *mut f32, v: __m256) {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm256_storeu_ps(dst, v) }
    }
    #[inline(always)]
    unsafe fn store_ptr_first(self, dst: *mut f32, v: __m256, n: usize) {
        // SAFETY: features by the token; masked-off lanes are not written, the others are vouched for by the caller.
        unsafe { _mm256_maskstore_ps(dst, self.first_lanes(n), v) }
    }
    #[inline(always)]
    unsafe fn load_i32_ptr(self, src: *const i32) -> __m256i {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm256_loadu_si256(src.cast()) }
    }
    #[inline(always)]
    unsafe fn store_i32_ptr(self, dst: *mut i32, v: __m256i) {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm256_storeu_si256(dst.cast(), v) }
    }
    #[inline(always)]
    unsafe fn load_u8_ptr(self, src: *const u8) -> __m256i {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(src.cast())) }
    }
    #[inline(always)]
    unsafe fn load_i8_ptr(self, src: *const i8) -> __m256i {
        // SAFETY: features by the token, memory by the caller.
        unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(src.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bytes_ptr(self, dst: *mut u8, v: __m256i) {
        // SAFETY: features by the token, memory by the caller.
        unsafe {
            // The lowest bytes of each half's four lanes, side by side.
            let low = _mm256_setr_epi32(0x0C08_0400, -1, -1, -1, 0x0C08_0400, -1, -1, -1);
            let bytes = _mm256_shuffle_epi8(v, low);
            let (a, b) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            _mm_storel_epi64(dst.cast(), _mm_unpacklo_epi32(a, b));
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: part of the x86-64 baseline; a prefetch of any address is allowed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose_ptr(self, src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
        // SAFETY: features by the token; the caller vouches for the 8 x 8 blocks.
        unsafe {
            let mut r = [_mm256_setzero_ps(); 8];
            for (i, r) in r.iter_mut().enumerate() {
                *r = _mm256_loadu_ps(src.add(i * src_stride));
            }
            // Column 4 l + c of rows 4 q..4 q + 4 is 128-bit lane l of t[4 q + c].
            let mut t = [_mm256_setzero_ps(); 8];
            for q in 0..2 {
                let (a, b, c, d) = (r[4 * q], r[4 * q + 1], r[4 * q + 2], r[4 * q + 3]);
                let ab_lo = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
                let ab_hi = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
                let cd_lo = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
                let cd_hi = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
                t[4 * q] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_lo, cd_lo));
                t[4 * q + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_lo, cd_lo));
                t[4 * q + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_hi, cd_hi));
                t[4 * q + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_hi, cd_hi));
            }
            for c in 0..4 {
                let (p, q) = (t[c], t[4 + c]);
                _mm256_storeu_ps(dst.add(c * dst_stride), _mm256_permute2f128_ps::<0x20>(p, q));
                _mm256_storeu_ps(dst.add((4 + c) * dst_stride), _mm256_permute2f128_ps::<0x31>(p, q));
            }
        }
    }

    ops! {
        fn splat(x: f32) -> __m256 { _mm256_set1_ps(x) }
        fn add(a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
        fn sub(a: __m256, b: __m256) -> __m256 { _mm256_sub_ps(a, b) }
        fn mul(a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
        fn div(a: __m256, b: __m256) -> __m256 { _mm256_div_ps(a, b) }
        fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
        fn neg_mul_add(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fnmadd_ps(a, b, c) }
        fn min(a: __m256, b: __m256) -> __m256 { _mm256_min_ps(a, b) }
        fn max(a: __m256, b: __m256) -> __m256 { _mm256_max_ps(a, b) }
        fn neg(a: __m256) -> __m256 { _mm256_xor_ps(a, _mm256_set1_ps(-0.0)) }
        fn abs(a: __m256) -> __m256 { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
        fn sqrt(a: __m256) -> __m256 { _mm256_sqrt_ps(a) }
        fn round_ties_even(a: __m256) -> __m256 { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        fn floor(a: __m256) -> __m256 { _mm256_floor_ps(a) }
        fn ceil(a: __m256) -> __m256 { _mm256_ceil_ps(a) }
        fn trunc(a: __m256) -> __m256 { _mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a) }
        fn sum(a: __m256) -> f32 { reduce!(a, _mm_add_ps, _mm_add_ss) }
        fn max_lane(a: __m256) -> f32 { reduce!(a, _mm_max_ps, _mm_max_ss) }
        fn min_lane(a: __m256) -> f32 { reduce!(a, _mm_min_ps, _mm_min_ss) }

        fn eq(a: __m256, b: __m256) -> __m256i { _mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)) }
        fn lt(a: __m256, b: __m256) -> __m256i { _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
        fn le(a: __m256, b: __m256) -> __m256i { _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LE_OQ>(a, b)) }
        fn and(a: __m256i, b: __m256i) -> __m256i { _mm256_and_si256(a, b) }
        fn or(a: __m256i, b: __m256i) -> __m256i { _mm256_or_si256(a, b) }
        fn not(a: __m256i) -> __m256i { _mm256_xor_si256(a, _mm256_set1_epi32(-1)) }
        fn any(a: __m256i) -> bool { _mm256_movemask_epi8(a) != 0 }
        fn select(mask: __m256i, a: __m256, b: __m256) -> __m256 { _mm256_blendv_ps(b, a, _mm256_castsi256_ps(mask)) }
        fn select_i32(mask: __m256i, a: __m256i, b: __m256i) -> __m256i { _mm256_blendv_epi8(b, a, mask) }

        fn splat_i32(x: i32) -> __m256i { _mm256_set1_epi32(x) }
        fn add_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(a, b) }
        fn sub_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_sub_epi32(a, b) }
        fn mul_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_mullo_epi32(a, b) }
        fn and_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_and_si256(a, b) }
        fn or_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_or_si256(a, b) }
        fn xor_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_xor_si256(a, b) }
        fn eq_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_cmpeq_epi32(a, b) }
        fn gt_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_cmpgt_epi32(a, b) }
        fn min_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_min_epi32(a, b) }
        fn max_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_max_epi32(a, b) }
        fn to_f32(a: __m256i) -> __m256 { _mm256_cvtepi32_ps(a) }
        fn to_i32_round(a: __m256) -> __m256i { _mm256_cvtps_epi32(a) }
        fn to_i32_trunc(a: __m256) -> __m256i { _mm256_cvttps_epi32(a) }
        fn to_bits(a: __m256) -> __m256i { _mm256_castps_si256(a) }
        fn bits_to_f32(a: __m256i) -> __m256 { _mm256_castsi256_ps(a) }
    }

    #[inline(always)]
    fn first(self, n: usize) -> __m256i {
        self.first_lanes(n)
    }
    #[inline(always)]
    fn shl_i32<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token exists only where detection found the features.
        unsafe { _mm256_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn shr_i32<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token exists only where detection found the features.
        unsafe { _mm256_srai_epi32::<N>(a) }
    }
}
