//! The vector trait: what every instruction set offers to kernels.

use super::isa::Kernel;

/// A token proving that an instruction set is present, and its vector operations.
///
/// Vectors hold [`Simd::LANES`] lanes of 32 bits. Masks have one truth value per lane.
/// Semantics are the same for all instruction sets except where a method says otherwise.
pub trait Simd: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// `LANES` floats.
    type F32: Copy + Send + Sync + 'static;
    /// `LANES` signed integers.
    type I32: Copy + Send + Sync + 'static;
    /// `LANES` truth values.
    type Mask: Copy + Send + Sync + 'static;

    /// Lanes per vector; a power of two, at most 16.
    const LANES: usize;
    /// Architectural vector registers, the budget of a register tile.
    const REGISTERS: usize;

    /// Runs `kernel` in a function of its own that is compiled for this instruction set.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    // ---- memory ----

    /// Loads `LANES` floats, of any alignment.
    ///
    /// # Safety
    /// `src` must be readable for `LANES` floats.
    unsafe fn load_ptr(self, src: *const f32) -> Self::F32;
    /// Loads the first `n` (at most `LANES`) floats; the other lanes are zero and not read.
    ///
    /// # Safety
    /// `src` must be readable for `min(n, LANES)` floats.
    unsafe fn load_ptr_first(self, src: *const f32, n: usize) -> Self::F32;
    /// Stores `LANES` floats, of any alignment.
    ///
    /// # Safety
    /// `dst` must be writable for `LANES` floats.
    unsafe fn store_ptr(self, dst: *mut f32, v: Self::F32);
    /// Stores the first `n` (at most `LANES`) lanes; memory past them is not touched.
    ///
    /// # Safety
    /// `dst` must be writable for `min(n, LANES)` floats.
    unsafe fn store_ptr_first(self, dst: *mut f32, v: Self::F32, n: usize);
    /// Loads `LANES` integers, of any alignment.
    ///
    /// # Safety
    /// `src` must be readable for `LANES` integers.
    unsafe fn load_i32_ptr(self, src: *const i32) -> Self::I32;
    /// Stores `LANES` integers, of any alignment.
    ///
    /// # Safety
    /// `dst` must be writable for `LANES` integers.
    unsafe fn store_i32_ptr(self, dst: *mut i32, v: Self::I32);
    /// Loads `LANES` unsigned bytes as integers.
    ///
    /// # Safety
    /// `src` must be readable for `LANES` bytes.
    #[inline(always)]
    unsafe fn load_u8_ptr(self, src: *const u8) -> Self::I32 {
        let mut lanes = [0; 16];
        for (i, lane) in lanes[..Self::LANES].iter_mut().enumerate() {
            // SAFETY: the caller vouches for LANES bytes.
            *lane = i32::from(unsafe { *src.add(i) });
        }
        self.load_i32(&lanes)
    }
    /// Loads `LANES` signed bytes as integers.
    ///
    /// # Safety
    /// `src` must be readable for `LANES` bytes.
    #[inline(always)]
    unsafe fn load_i8_ptr(self, src: *const i8) -> Self::I32 {
        let mut lanes = [0; 16];
        for (i, lane) in lanes[..Self::LANES].iter_mut().enumerate() {
            // SAFETY: the caller vouches for LANES bytes.
            *lane = i32::from(unsafe { *src.add(i) });
        }
        self.load_i32(&lanes)
    }
    /// Stores the lowest byte of each lane.
    ///
    /// # Safety
    /// `dst` must be writable for `LANES` bytes.
    #[inline(always)]
    unsafe fn store_bytes_ptr(self, dst: *mut u8, v: Self::I32) {
        let mut lanes = [0; 16];
        self.store_i32(&mut lanes, v);
        for (i, &lane) in lanes[..Self::LANES].iter().enumerate() {
            // SAFETY: the caller vouches for LANES bytes.
            unsafe { *dst.add(i) = lane as u8 };
        }
    }
    /// Asks for the cache line at `at` (any address) to be brought to the first-level cache. Without effect on results,
    /// and on instruction sets without such a hint.
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        let _ = at;
    }
    /// Writes the transpose of a `LANES` x `LANES` block: `dst[j * dst_stride + i] = src[i * src_stride + j]`.
    ///
    /// # Safety
    /// All of both blocks must be in bounds, and they must not overlap.
    #[inline(always)]
    unsafe fn transpose_ptr(self, src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: the caller vouches for both blocks.
                unsafe { *dst.add(j * dst_stride + i) = *src.add(i * src_stride + j) };
            }
        }
    }

    /// Loads the first `LANES` floats of `src`. Panics if it is shorter.
    #[inline(always)]
    fn load(self, src: &[f32]) -> Self::F32 {
        assert!(src.len() >= Self::LANES);
        // SAFETY: the slice holds LANES floats.
        unsafe { self.load_ptr(src.as_ptr()) }
    }
    /// Loads `min(src.len(), LANES)` floats; the other lanes are zero.
    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> Self::F32 {
        // SAFETY: at most src.len() floats are read.
        unsafe { self.load_ptr_first(src.as_ptr(), src.len()) }
    }
    /// Loads `min(src.len(), LANES)` floats; the other lanes are `fill`.
    #[inline(always)]
    fn load_or(self, src: &[f32], fill: f32) -> Self::F32 {
        let v = self.load_partial(src);
        self.select(self.first(src.len()), v, self.splat(fill))
    }
    /// Stores to the first `LANES` floats of `dst`. Panics if it is shorter.
    #[inline(always)]
    fn store(self, dst: &mut [f32], v: Self::F32) {
        assert!(dst.len() >= Self::LANES);
        // SAFETY: the slice holds LANES floats.
        unsafe { self.store_ptr(dst.as_mut_ptr(), v) }
    }
    /// Stores the first `min(dst.len(), LANES)` lanes.
    #[inline(always)]
    fn store_partial(self, dst: &mut [f32], v: Self::F32) {
        // SAFETY: at most dst.len() floats are written.
        unsafe { self.store_ptr_first(dst.as_mut_ptr(), v, dst.len()) }
    }
    /// Loads the first `LANES` integers of `src`. Panics if it is shorter.
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> Self::I32 {
        assert!(src.len() >= Self::LANES);
        // SAFETY: the slice holds LANES integers.
        unsafe { self.load_i32_ptr(src.as_ptr()) }
    }
    /// Loads `min(src.len(), LANES)` unsigned bytes as integers; the other lanes are zero.
    #[inline(always)]
    fn load_u8(self, src: &[u8]) -> Self::I32 {
        let mut lanes = [0; 16];
        let whole = src.len() >= Self::LANES;
        if !whole {
            lanes[..src.len()].copy_from_slice(src);
        }
        // SAFETY: either holds LANES bytes.
        unsafe { self.load_u8_ptr(if whole { src.as_ptr() } else { lanes.as_ptr() }) }
    }
    /// Loads `min(src.len(), LANES)` bytes, taken as signed, as integers; the other lanes are zero.
    #[inline(always)]
    fn load_i8(self, src: &[u8]) -> Self::I32 {
        let mut lanes = [0; 16];
        let whole = src.len() >= Self::LANES;
        if !whole {
            lanes[..src.len()].copy_from_slice(src);
        }
        // SAFETY: either holds LANES bytes.
        unsafe { self.load_i8_ptr(if whole { src.as_ptr() } else { lanes.as_ptr() }.cast()) }
    }
    /// Stores the lowest byte of the first `min(dst.len(), LANES)` lanes.
    #[inline(always)]
    fn store_bytes(self, dst: &mut [u8], v: Self::I32) {
        if dst.len() >= Self::LANES {
            // SAFETY: the slice holds LANES bytes.
            return unsafe { self.store_bytes_ptr(dst.as_mut_ptr(), v) };
        }
        let mut lanes = [0; 16];
        // SAFETY: LANES is at most 16.
        unsafe { self.store_bytes_ptr(lanes.as_mut_ptr(), v) };
        dst.copy_from_slice(&lanes[..dst.len()]);
    }
    /// Stores to the first `LANES` integers of `dst`. Panics if it is shorter.
    #[inline(always)]
    fn store_i32(self, dst: &mut [i32], v: Self::I32) {
        assert!(dst.len() >= Self::LANES);
        // SAFETY: the slice holds LANES integers.
        unsafe { self.store_i32_ptr(dst.as_mut_ptr(), v) }
    }

    // ---- float arithmetic ----

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F32;
    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::F32 {
        self.splat(0.0)
    }
    /// `a + b`.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`.
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`, correctly rounded.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`; fused (one rounding) except on the portable instruction set.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `c - a * b`; fused (one rounding) except on the portable instruction set.
    fn neg_mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `if a < b { a } else { b }`: `b` if either is NaN. So `min(bound, x)` keeps a NaN in `x`.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `if a > b { a } else { b }`: `b` if either is NaN. So `max(bound, x)` keeps a NaN in `x`.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `-a` (sign bit flipped).
    fn neg(self, a: Self::F32) -> Self::F32;
    /// Sign bit cleared.
    fn abs(self, a: Self::F32) -> Self::F32;
    /// Magnitude of `a`, sign of `sign`.
    #[inline(always)]
    fn copysign(self, a: Self::F32, sign: Self::F32) -> Self::F32 {
        let bit = self.splat_i32(i32::MIN);
        let sign = self.and_i32(self.to_bits(sign), bit);
        self.bits_to_f32(self.or_i32(self.to_bits(self.abs(a)), sign))
    }
    /// Square root, correctly rounded.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// To the nearest integer, ties to even.
    fn round_ties_even(self, a: Self::F32) -> Self::F32;
    /// To the integer below or equal.
    fn floor(self, a: Self::F32) -> Self::F32;
    /// To the integer above or equal.
    fn ceil(self, a: Self::F32) -> Self::F32;
    /// To the integer towards zero.
    fn trunc(self, a: Self::F32) -> Self::F32;
    /// Sum of all lanes, pairwise.
    fn sum(self, a: Self::F32) -> f32;
    /// Largest lane; which one of NaN and number wins is unspecified.
    fn max_lane(self, a: Self::F32) -> f32;
    /// Smallest lane; which one of NaN and number wins is unspecified.
    fn min_lane(self, a: Self::F32) -> f32;

    // ---- masks ----

    /// The first `min(n, LANES)` lanes true.
    fn first(self, n: usize) -> Self::Mask;
    /// `a == b`, false for NaN.
    fn eq(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a < b`, false for NaN.
    fn lt(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a <= b`, false for NaN.
    fn le(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a > b`, false for NaN.
    #[inline(always)]
    fn gt(self, a: Self::F32, b: Self::F32) -> Self::Mask {
        self.lt(b, a)
    }
    /// `a >= b`, false for NaN.
    #[inline(always)]
    fn ge(self, a: Self::F32, b: Self::F32) -> Self::Mask {
        self.le(b, a)
    }
    /// True where `a` is NaN.
    #[inline(always)]
    fn is_nan(self, a: Self::F32) -> Self::Mask {
        self.not(self.eq(a, a))
    }
    /// Both.
    fn and(self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Either.
    fn or(self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Negation.
    fn not(self, a: Self::Mask) -> Self::Mask;
    /// True if any lane is.
    fn any(self, a: Self::Mask) -> bool;
    /// `mask ? a : b`.
    fn select(self, mask: Self::Mask, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `mask ? a : b`.
    fn select_i32(self, mask: Self::Mask, a: Self::I32, b: Self::I32) -> Self::I32;

    // ---- integers ----

    /// All lanes `x`.
    fn splat_i32(self, x: i32) -> Self::I32;
    /// `a + b`, wrapping.
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `a - b`, wrapping.
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `a * b`, wrapping.
    fn mul_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Bitwise and.
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Bitwise or.
    fn or_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Bitwise exclusive or.
    fn xor_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `a << N`, for `0 < N < 32`.
    fn shl_i32<const N: i32>(self, a: Self::I32) -> Self::I32;
    /// `a >> N` keeping the sign, for `0 < N < 32`.
    fn shr_i32<const N: i32>(self, a: Self::I32) -> Self::I32;
    /// `a == b`.
    fn eq_i32(self, a: Self::I32, b: Self::I32) -> Self::Mask;
    /// `a > b`.
    fn gt_i32(self, a: Self::I32, b: Self::I32) -> Self::Mask;
    /// Smaller.
    fn min_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Larger.
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// To float, rounded to nearest.
    fn to_f32(self, a: Self::I32) -> Self::F32;
    /// To integer, nearest, ties to even; unspecified where it does not fit (and for NaN).
    fn to_i32_round(self, a: Self::F32) -> Self::I32;
    /// To integer, towards zero; unspecified where it does not fit (and for NaN).
    fn to_i32_trunc(self, a: Self::F32) -> Self::I32;
    /// The bits of the float.
    fn to_bits(self, a: Self::F32) -> Self::I32;
    /// The float of these bits.
    fn bits_to_f32(self, a: Self::I32) -> Self::F32;
}
