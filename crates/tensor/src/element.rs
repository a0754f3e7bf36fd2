//! Rust types that can be a tensor's elements.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

use crate::DType;
use crate::float8::{F8E4M3Fn, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz, F8E8M0};

/// A Rust type that is stored as the bytes of one element.
pub trait Element:
    bytemuck::NoUninit + bytemuck::CheckedBitPattern + Zeroable + PartialEq + Send + Sync + std::fmt::Debug
{
    /// The element type this is.
    const DTYPE: DType;
}

/// An element that is a real number: every type but strings and complex numbers. `bool` counts as 0 and 1.
///
/// Conversions follow Rust's `as`: float to integer saturates (NaN gives 0), integer to integer wraps, to a
/// narrower float rounds to nearest even. Float8 types saturate as ONNX's `Cast` does by default.
pub trait Real: Element + PartialOrd {
    /// The value in f64. Integers beyond 2^53 are rounded.
    fn to_f64(self) -> f64;
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The value as a wide integer, truncated towards zero.
    fn to_i128(self) -> i128;
    /// The value of a wide integer, wrapped to this type's width (rounded, for floats).
    fn from_i128(value: i128) -> Self;
}

macro_rules! native {
    ($($t:ty => $dtype:ident),*) => { $(
        impl Element for $t { const DTYPE: DType = DType::$dtype; }
        impl Real for $t {
            fn to_f64(self) -> f64 { self as f64 }
            fn from_f64(value: f64) -> $t { value as $t }
            fn to_i128(self) -> i128 { self as i128 }
            fn from_i128(value: i128) -> $t { value as $t }
        }
    )* };
}
native!(f32 => F32, f64 => F64, u8 => U8, i8 => I8, u16 => U16, i16 => I16, i32 => I32, i64 => I64, u32 => U32, u64 => U64);

impl Element for bool {
    const DTYPE: DType = DType::Bool;
}
impl Real for bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn from_f64(value: f64) -> bool {
        value != 0.0
    }
    fn to_i128(self) -> i128 {
        i128::from(self)
    }
    fn from_i128(value: i128) -> bool {
        value != 0
    }
}

impl Element for [f32; 2] {
    const DTYPE: DType = DType::Complex64;
}
impl Element for [f64; 2] {
    const DTYPE: DType = DType::Complex128;
}

/// Real floats that are not Rust's own: conversions go through f64.
macro_rules! through_f64 {
    ($($t:ty => $dtype:ident, $from_f64:path;)*) => { $(
        impl Element for $t { const DTYPE: DType = DType::$dtype; }
        impl Real for $t {
            fn to_f64(self) -> f64 { <$t>::to_f64(self) }
            fn from_f64(value: f64) -> $t { $from_f64(value) }
            fn to_i128(self) -> i128 { <$t>::to_f64(self) as i128 }
            fn from_i128(value: i128) -> $t { $from_f64(value as f64) }
        }
    )* };
}
through_f64! {
    f16 => F16, f16_from_f64;
    bf16 => BF16, bf16_from_f64;
    F8E4M3Fn => F8E4M3Fn, F8E4M3Fn::from_f64;
    F8E4M3Fnuz => F8E4M3Fnuz, F8E4M3Fnuz::from_f64;
    F8E5M2 => F8E5M2, F8E5M2::from_f64;
    F8E5M2Fnuz => F8E5M2Fnuz, F8E5M2Fnuz::from_f64;
    F8E8M0 => F8E8M0, F8E8M0::from_f64;
    F4E2M1 => F4E2M1, F4E2M1::from_f64;
}

/// `value` rounded to f32 so that rounding the result again, to at most 22 bits, gives what rounding `value` would:
/// what is cut off leaves its trace in the last bit ("round to odd", Boldo and Melquiond 2008).
fn to_odd_f32(value: f64) -> f32 {
    let nearest = value as f32;
    if nearest.is_nan() || f64::from(nearest) == value {
        return nearest;
    }
    // Bits of a float rise with its magnitude, so one less is the neighbour towards zero.
    let bits = nearest.to_bits() - u32::from(f64::from(nearest).abs() > value.abs());
    f32::from_bits(bits | 1)
}

/// Rounds once, where `f16::from_f64` may round to f32 first.
fn f16_from_f64(value: f64) -> f16 {
    f16::from_f32(to_odd_f32(value))
}

/// Rounds once.
fn bf16_from_f64(value: f64) -> bf16 {
    bf16::from_f32(to_odd_f32(value))
}

/// Integers narrower than a byte: the value is kept sign-extended in a byte.
macro_rules! narrow {
    ($($(#[$doc:meta])* $name:ident($repr:ty) => $bits:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name($repr);

        impl $name {
            /// The lowest bits of `value`, sign-extended where the type is signed.
            pub fn wrap(value: i128) -> $name {
                let shift = <$repr>::BITS - $bits;
                $name(((value as $repr) << shift) >> shift)
            }

            /// The value.
            pub fn get(self) -> $repr {
                self.0
            }
        }
        impl Element for $name { const DTYPE: DType = DType::$name; }
        impl Real for $name {
            fn to_f64(self) -> f64 { f64::from(self.0) }
            /// Saturates at the ends of the range, like Rust's `as`.
            fn from_f64(value: f64) -> $name {
                let (low, high) = ($name::wrap_low(), $name::wrap_high());
                $name((value.clamp(low, high)) as $repr)
            }
            fn to_i128(self) -> i128 { i128::from(self.0) }
            fn from_i128(value: i128) -> $name { $name::wrap(value) }
        }
        impl $name {
            fn wrap_low() -> f64 { if <$repr>::MIN == 0 { 0.0 } else { -f64::from(1u32 << ($bits - 1)) } }
            fn wrap_high() -> f64 {
                f64::from((1u32 << (if <$repr>::MIN == 0 { $bits } else { $bits - 1 })) - 1)
            }
        }
    )* };
}
narrow! {
    /// Unsigned 4-bit integer, 0 to 15.
    U4(u8) => 4;
    /// Signed 4-bit integer, -8 to 7.
    I4(i8) => 4;
    /// Unsigned 2-bit integer, 0 to 3.
    U2(u8) => 2;
    /// Signed 2-bit integer, -2 to 1.
    I2(i8) => 2;
}

/// Float4 of the OCP Microscaling formats: 1 sign, 2 exponent, 1 mantissa bit; no infinity, no NaN.
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct F4E2M1(u8);

impl F4E2M1 {
    const MAGNITUDES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

    /// The element whose bits are the low four of `bits`.
    pub fn from_bits(bits: u8) -> F4E2M1 {
        F4E2M1(bits & 0xF)
    }

    /// The four bits.
    pub fn to_bits(self) -> u8 {
        self.0 & 0xF
    }

    /// The value.
    pub fn to_f64(self) -> f64 {
        let magnitude = F4E2M1::MAGNITUDES[usize::from(self.0 & 7)];
        if self.0 & 8 == 0 { magnitude } else { -magnitude }
    }

    /// The nearest value, ties to an even mantissa; beyond 6 saturates, NaN gives -0 as ONNX's test suite expects.
    pub fn from_f64(value: f64) -> F4E2M1 {
        if value.is_nan() {
            return F4E2M1(8);
        }
        let sign = if value.is_sign_negative() { 8 } else { 0 };
        let magnitude = value.abs();
        // Midpoints between neighbours; a tie goes to the even code.
        let code = if magnitude > 5.0 {
            7
        } else {
            (0..7u8)
                .find(|&code| {
                    let low = F4E2M1::MAGNITUDES[usize::from(code)];
                    let middle = (low + F4E2M1::MAGNITUDES[usize::from(code) + 1]) / 2.0;
                    magnitude < middle || (magnitude == middle && code % 2 == 0)
                })
                .unwrap_or(7)
        };
        F4E2M1(sign | code)
    }
}

impl PartialOrd for F4E2M1 {
    fn partial_cmp(&self, other: &F4E2M1) -> Option<std::cmp::Ordering> {
        self.to_f64().partial_cmp(&other.to_f64())
    }
}

/// Runs `$body` with `$T` bound to the Rust type of `$dtype`, where that is one of the listed set; otherwise `$otherwise`.
///
/// Sets: `real` (everything but string and complex), `float` (f32 f64 f16 bf16), `integer` (8 to 64 bits).
#[macro_export]
macro_rules! dispatch {
    (float, $dtype:expr, $T:ident => $body:expr, else $otherwise:expr) => {
        $crate::dispatch!(@arms $dtype, $T, $body, $otherwise, [F32 f32, F64 f64, F16 $crate::f16, BF16 $crate::bf16])
    };
    (integer, $dtype:expr, $T:ident => $body:expr, else $otherwise:expr) => {
        $crate::dispatch!(@arms $dtype, $T, $body, $otherwise,
            [I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64])
    };
    (real, $dtype:expr, $T:ident => $body:expr, else $otherwise:expr) => {
        $crate::dispatch!(@arms $dtype, $T, $body, $otherwise, [
            F32 f32, F64 f64, F16 $crate::f16, BF16 $crate::bf16, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16,
            U32 u32, U64 u64, Bool bool, F8E4M3Fn $crate::F8E4M3Fn, F8E4M3Fnuz $crate::F8E4M3Fnuz,
            F8E5M2 $crate::F8E5M2, F8E5M2Fnuz $crate::F8E5M2Fnuz, F8E8M0 $crate::F8E8M0, F4E2M1 $crate::F4E2M1,
            U4 $crate::U4, I4 $crate::I4, U2 $crate::U2, I2 $crate::I2])
    };
    (@arms $dtype:expr, $T:ident, $body:expr, $otherwise:expr, [$($variant:ident $ty:ty),*]) => {
        match $dtype {
            $($crate::DType::$variant => { type $T = $ty; $body })*
            _ => $otherwise,
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_round_once() {
        // Just above the middle of 1 and the next f16: rounding to f32 first would land on the middle.
        let above_middle = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(<f16 as Real>::from_f64(above_middle).to_bits(), f16::ONE.to_bits() + 1);
        assert_eq!(<f16 as Real>::from_f64(-above_middle).to_bits(), f16::NEG_ONE.to_bits() + 1);
        assert_eq!(<f16 as Real>::from_f64(1.0 + 2f64.powi(-11)), f16::ONE);
        let above_middle = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        assert_eq!(<bf16 as Real>::from_f64(above_middle).to_bits(), bf16::ONE.to_bits() + 1);
    }

    #[test]
    fn half_floats_keep_extremes() {
        for value in [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 65504.0, 2f64.powi(-24)] {
            assert_eq!(<f16 as Real>::from_f64(value).to_f64().to_bits(), value.to_bits(), "{value}");
        }
        assert!(<f16 as Real>::from_f64(f64::NAN).is_nan() && <bf16 as Real>::from_f64(f64::NAN).is_nan());
        assert_eq!(<f16 as Real>::from_f64(f64::MAX), f16::INFINITY);
        assert_eq!(<bf16 as Real>::from_f64(f64::MAX), bf16::INFINITY);
        assert_eq!(<f16 as Real>::from_f64(65519.999), f16::MAX);
        assert_eq!(<f16 as Real>::from_f64(f64::MIN_POSITIVE).to_bits(), 0);
    }

    #[test]
    fn every_half_float_round_trips() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert!(half.is_nan() || <f16 as Real>::from_f64(half.to_f64()).to_bits() == bits);
            assert!(brain.is_nan() || <bf16 as Real>::from_f64(brain.to_f64()).to_bits() == bits);
        }
    }

    #[test]
    fn float4_rounds_to_even_and_saturates() {
        let rounded: Vec<f64> =
            [0.25, 0.75, 1.05, -3.5, -8.0, 5.0, 1e9].iter().map(|&x| F4E2M1::from_f64(x).to_f64()).collect();
        assert_eq!(rounded, [0.0, 1.0, 1.0, -4.0, -6.0, 4.0, 6.0]);
        assert_eq!(F4E2M1::from_f64(f64::NAN).to_bits(), 8);
    }
}
