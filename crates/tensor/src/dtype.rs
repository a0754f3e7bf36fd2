//! Element types.

use std::fmt;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $bytes:literal;)*) => {
        /// The type of a tensor's elements; one variant for each of ONNX's `TensorProto.DataType`.
        ///
        /// Types narrower than a byte take one byte an element in memory (the low bits hold the value).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum DType {
            $($(#[$doc])* $variant),*
        }

        impl DType {
            /// Every element type, in ONNX's numbering.
            pub const ALL: &[DType] = &[$(DType::$variant),*];

            /// The number of `TensorProto.DataType`.
            pub const fn onnx_code(self) -> i32 {
                match self { $(DType::$variant => $code),* }
            }

            /// The name that ONNX and NumPy use, such as `float32` or `int64`.
            pub const fn name(self) -> &'static str {
                match self { $(DType::$variant => $name),* }
            }

            /// Bytes that an element takes in memory; 0 for strings, which are not stored as bytes.
            pub const fn size(self) -> usize {
                match self { $(DType::$variant => $bytes),* }
            }
        }
    };
}

dtypes! {
    /// IEEE 754 binary32.
    F32 = 1, "float32", 4;
    /// Unsigned 8-bit integer.
    U8 = 2, "uint8", 1;
    /// Signed 8-bit integer.
    I8 = 3, "int8", 1;
    /// Unsigned 16-bit integer.
    U16 = 4, "uint16", 2;
    /// Signed 16-bit integer.
    I16 = 5, "int16", 2;
    /// Signed 32-bit integer.
    I32 = 6, "int32", 4;
    /// Signed 64-bit integer.
    I64 = 7, "int64", 8;
    /// UTF-8 text.
    String = 8, "string", 0;
    /// Truth value, one byte of 0 or 1.
    Bool = 9, "bool", 1;
    /// IEEE 754 binary16.
    F16 = 10, "float16", 2;
    /// IEEE 754 binary64.
    F64 = 11, "float64", 8;
    /// Unsigned 32-bit integer.
    U32 = 12, "uint32", 4;
    /// Unsigned 64-bit integer.
    U64 = 13, "uint64", 8;
    /// Two binary32: real, imaginary.
    Complex64 = 14, "complex64", 8;
    /// Two binary64: real, imaginary.
    Complex128 = 15, "complex128", 16;
    /// The upper half of a binary32.
    BF16 = 16, "bfloat16", 2;
    /// Float8, 4 exponent bits, no infinity.
    F8E4M3Fn = 17, "float8e4m3fn", 1;
    /// Float8, 4 exponent bits, no infinity, no negative zero.
    F8E4M3Fnuz = 18, "float8e4m3fnuz", 1;
    /// Float8, 5 exponent bits, IEEE-like.
    F8E5M2 = 19, "float8e5m2", 1;
    /// Float8, 5 exponent bits, no infinity, no negative zero.
    F8E5M2Fnuz = 20, "float8e5m2fnuz", 1;
    /// Unsigned 4-bit integer.
    U4 = 21, "uint4", 1;
    /// Signed 4-bit integer.
    I4 = 22, "int4", 1;
    /// Float4: 1 sign, 2 exponent, 1 mantissa bit.
    F4E2M1 = 23, "float4e2m1", 1;
    /// Power-of-two scale: 8 exponent bits.
    F8E8M0 = 24, "float8e8m0", 1;
    /// Unsigned 2-bit integer.
    U2 = 25, "uint2", 1;
    /// Signed 2-bit integer.
    I2 = 26, "int2", 1;
}

impl DType {
    /// The element type of an ONNX data type number, if there is one.
    pub fn from_onnx_code(code: i32) -> Option<DType> {
        DType::ALL.iter().copied().find(|dtype| dtype.onnx_code() == code)
    }

    /// Bits that an element takes in a file; 0 for strings.
    pub const fn file_bits(self) -> usize {
        match self {
            DType::U4 | DType::I4 | DType::F4E2M1 => 4,
            DType::U2 | DType::I2 => 2,
            _ => self.size() * 8,
        }
    }

    /// Whether the type is a real floating-point type, of any width.
    pub const fn is_float(self) -> bool {
        use DType::*;
        matches!(self, F32 | F64 | F16 | BF16 | F8E4M3Fn | F8E4M3Fnuz | F8E5M2 | F8E5M2Fnuz | F8E8M0 | F4E2M1)
    }

    /// Whether the type is an integer, of any width; `bool` is none.
    pub const fn is_integer(self) -> bool {
        self.is_signed_integer() || self.is_unsigned_integer()
    }

    /// Whether the type is a signed integer.
    pub const fn is_signed_integer(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::I4 | DType::I2)
    }

    /// Whether the type is an unsigned integer.
    pub const fn is_unsigned_integer(self) -> bool {
        matches!(self, DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::U4 | DType::U2)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for &dtype in DType::ALL {
            assert_eq!(DType::from_onnx_code(dtype.onnx_code()), Some(dtype));
        }
        assert_eq!(DType::from_onnx_code(0), None);
        assert_eq!(DType::from_onnx_code(-1), None);
    }
}
