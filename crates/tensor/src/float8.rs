//! The 8-bit floats of ONNX (<https://onnx.ai/onnx/technical/float8.html>).

use bytemuck::{Pod, Zeroable};

/// What tells the four sign-exponent-mantissa formats apart.
struct Format {
    mantissa_bits: u32,
    bias: i32,
    /// Greatest finite code without its sign.
    max_code: u8,
    /// Code of infinity, if the format has it.
    infinity: Option<u8>,
    nan: u8,
    /// Whether 0x80 is NaN, so that there is no negative zero.
    unsigned_zero: bool,
}

impl Format {
    fn decode(&self, bits: u8) -> f64 {
        let code = bits & 0x7F;
        let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
        if self.unsigned_zero && bits == 0x80 {
            return f64::NAN;
        }
        if code > self.max_code {
            return if Some(code) == self.infinity { sign * f64::INFINITY } else { f64::NAN };
        }
        sign * self.magnitude(code)
    }

    /// The value of a finite code, by the same rule for normal and subnormal numbers.
    fn magnitude(&self, code: u8) -> f64 {
        let scale = f64::from(1u32 << self.mantissa_bits);
        let exponent = i32::from(code >> self.mantissa_bits);
        let mantissa = f64::from(code & ((1 << self.mantissa_bits) - 1)) / scale;
        if exponent == 0 {
            mantissa * 2f64.powi(1 - self.bias)
        } else {
            (1.0 + mantissa) * 2f64.powi(exponent - self.bias)
        }
    }

    /// Rounds to nearest, ties to even. Beyond the greatest finite value: that value when `saturate`, else infinity or NaN.
    fn encode(&self, value: f64, saturate: bool) -> u8 {
        let sign = if value.is_sign_negative() { 0x80 } else { 0 };
        if value.is_nan() {
            return if self.unsigned_zero { self.nan } else { self.nan | sign };
        }
        let overflow = match (saturate, self.infinity) {
            (true, _) => self.max_code | sign,
            (false, Some(infinity)) => infinity | sign,
            (false, None) if self.unsigned_zero => self.nan,
            (false, None) => self.nan | sign,
        };
        let magnitude = value.abs();
        if magnitude.is_infinite() {
            return overflow;
        }
        // Codes rise with magnitude, so the nearest is found between two neighbours.
        let (mut low, mut high) = (0u8, self.max_code);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.magnitude(middle) <= magnitude { low = middle } else { high = middle }
        }
        let code = if magnitude >= self.magnitude(high) {
            // Half a step beyond the greatest value still rounds down to it (ties to even decide on the boundary).
            let step = self.magnitude(high) - self.magnitude(high - 1);
            let excess = magnitude - self.magnitude(high);
            if excess > step / 2.0 || (excess == step / 2.0 && high % 2 == 1) {
                return overflow;
            }
            high
        } else {
            let (below, above) = (magnitude - self.magnitude(low), self.magnitude(high) - magnitude);
            if below < above || (below == above && low % 2 == 0) { low } else { high }
        };
        if code == 0 && self.unsigned_zero { 0 } else { code | sign }
    }
}

macro_rules! float8 {
    ($($(#[$doc:meta])* $name:ident = $format:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name(u8);

        impl $name {
            const FORMAT: Format = $format;

            /// The element with these bits.
            pub fn from_bits(bits: u8) -> $name { $name(bits) }
            /// The bits.
            pub fn to_bits(self) -> u8 { self.0 }
            /// The exact value.
            pub fn to_f64(self) -> f64 { $name::FORMAT.decode(self.0) }
            /// The nearest value, ties to even; too great a number becomes the greatest finite one.
            pub fn from_f64(value: f64) -> $name { $name(<$name>::FORMAT.encode(value, true)) }
            /// The nearest value, ties to even; too great a number becomes infinity, or NaN where there is none.
            pub fn from_f64_overflowing(value: f64) -> $name { $name(<$name>::FORMAT.encode(value, false)) }
        }
        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool { self.to_f64() == other.to_f64() }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &$name) -> Option<std::cmp::Ordering> {
                self.to_f64().partial_cmp(&other.to_f64())
            }
        }
    )* };
}

float8! {
    /// Float8 with 4 exponent and 3 mantissa bits; greatest 448, NaN but no infinity.
    F8E4M3Fn = Format { mantissa_bits: 3, bias: 7, max_code: 0x7E, infinity: None, nan: 0x7F, unsigned_zero: false };
    /// Float8 with 4 exponent and 3 mantissa bits; greatest 240, no infinity, no negative zero.
    F8E4M3Fnuz = Format { mantissa_bits: 3, bias: 8, max_code: 0x7F, infinity: None, nan: 0x80, unsigned_zero: true };
    /// Float8 with 5 exponent and 2 mantissa bits; greatest 57,344, with infinities.
    F8E5M2 = Format { mantissa_bits: 2, bias: 15, max_code: 0x7B, infinity: Some(0x7C), nan: 0x7F, unsigned_zero: false };
    /// Float8 with 5 exponent and 2 mantissa bits; greatest 57,344, no infinity, no negative zero.
    F8E5M2Fnuz = Format { mantissa_bits: 2, bias: 16, max_code: 0x7F, infinity: None, nan: 0x80, unsigned_zero: true };
}

/// A power of two from 2^-127 to 2^127, or NaN: the scale type of the OCP Microscaling formats.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct F8E8M0(u8);

impl F8E8M0 {
    /// The element with these bits.
    pub fn from_bits(bits: u8) -> F8E8M0 {
        F8E8M0(bits)
    }

    /// The bits: the exponent plus 127; 255 is NaN.
    pub fn to_bits(self) -> u8 {
        self.0
    }

    /// The exact value.
    pub fn to_f64(self) -> f64 {
        if self.0 == 0xFF { f64::NAN } else { 2f64.powi(i32::from(self.0) - 127) }
    }

    /// The magnitude's next power of two, saturating: what ONNX's `Cast` does by default.
    pub fn from_f64(value: f64) -> F8E8M0 {
        F8E8M0::rounded(value, ScaleRounding::Up, true)
    }

    /// A power of two near the magnitude. What lies beyond the least and the greatest, zero and infinity included,
    /// becomes that one when `saturate`, else NaN.
    pub fn rounded(value: f64, rounding: ScaleRounding, saturate: bool) -> F8E8M0 {
        let magnitude = value.abs();
        if magnitude.is_nan() {
            return F8E8M0(0xFF);
        }
        let (least, greatest) = (2f64.powi(-127), 2f64.powi(127));
        if magnitude < least || magnitude.is_infinite() {
            return F8E8M0(if !saturate {
                0xFF
            } else if magnitude < least {
                0
            } else {
                0xFE
            });
        }
        // Numbers from 2^-127 on are normal in f64, so the exponent field is the whole power.
        let floor = ((magnitude.to_bits() >> 52) as i32) - 1023;
        let fraction = magnitude / 2f64.powi(floor);
        let up = match rounding {
            ScaleRounding::Up => fraction > 1.0,
            ScaleRounding::Down => false,
            ScaleRounding::Nearest => fraction >= 1.5,
        };
        if floor > 127 || (floor == 127 && up && magnitude > greatest) {
            return F8E8M0(if saturate { 0xFE } else { 0xFF });
        }
        F8E8M0((floor + 127 + i32::from(up)) as u8)
    }
}

/// How a number becomes a power of two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ScaleRounding {
    /// To the next greater one.
    #[default]
    Up,
    /// To the next smaller one.
    Down,
    /// To the nearer one; the middle goes up.
    Nearest,
}

impl PartialEq for F8E8M0 {
    fn eq(&self, other: &F8E8M0) -> bool {
        self.to_f64() == other.to_f64()
    }
}
impl PartialOrd for F8E8M0 {
    fn partial_cmp(&self, other: &F8E8M0) -> Option<std::cmp::Ordering> {
        self.to_f64().partial_cmp(&other.to_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_code_round_trips() {
        for bits in 0..=255u8 {
            let value = F8E4M3Fn::from_bits(bits).to_f64();
            if !value.is_nan() {
                assert_eq!(F8E4M3Fn::from_f64(value).to_bits(), bits);
            }
            let value = F8E5M2Fnuz::from_bits(bits).to_f64();
            if !value.is_nan() {
                assert_eq!(F8E5M2Fnuz::from_f64(value).to_bits(), bits);
            }
        }
    }

    #[test]
    fn known_extremes() {
        assert_eq!(F8E4M3Fn::from_bits(0x7E).to_f64(), 448.0);
        assert_eq!(F8E4M3Fnuz::from_bits(0x7F).to_f64(), 240.0);
        assert_eq!(F8E5M2::from_bits(0x7B).to_f64(), 57344.0);
        assert_eq!(F8E4M3Fn::from_f64(1e9).to_bits(), 0x7E);
        assert!(F8E4M3Fn::from_f64_overflowing(1e9).to_f64().is_nan());
        assert_eq!(F8E5M2::from_f64_overflowing(-1e9).to_f64(), f64::NEG_INFINITY);
        assert_eq!(F8E8M0::from_f64(3.0).to_f64(), 4.0);
    }

    #[test]
    fn powers_of_two_round_as_asked() {
        use ScaleRounding::{Down, Nearest, Up};
        let rounded = |value, rounding| F8E8M0::rounded(value, rounding, true).to_f64();
        assert_eq!(
            [rounded(1.1, Up), rounded(1.9, Down), rounded(1.4, Nearest), rounded(1.5, Nearest)],
            [2.0, 1.0, 1.0, 2.0]
        );
        assert_eq!([rounded(0.124, Up), rounded(8.0, Up), rounded(-8.0, Down)], [0.125, 8.0, 8.0]);
        assert_eq!(F8E8M0::rounded(0.0, Up, true).to_bits(), 0);
        assert_eq!(F8E8M0::rounded(f64::INFINITY, Up, true).to_bits(), 0xFE);
        assert_eq!(F8E8M0::rounded(1e300, Up, true).to_bits(), 0xFE);
        assert_eq!(F8E8M0::rounded(2f64.powi(127) * 1.1, Up, true).to_bits(), 0xFE);
        for outside in [0.0, 1e-40, 2f64.powi(127) * 1.9, 1e300, f64::INFINITY, f64::NAN] {
            assert!(F8E8M0::rounded(outside, Nearest, false).to_f64().is_nan(), "{outside}");
        }
        for bits in 0..=0xFE {
            assert_eq!(F8E8M0::from_f64(F8E8M0::from_bits(bits).to_f64()).to_bits(), bits);
        }
    }
}
