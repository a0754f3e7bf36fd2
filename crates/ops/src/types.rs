//! Named sets of element types: what an operator takes.

use inferrum_graph::OpError;
use inferrum_tensor::DType;

/// A set of element types with a name for messages.
#[derive(Clone, Copy, Debug)]
pub struct Types {
    /// What the set is called: `a float type of 16 bits or more`.
    pub name: &'static str,
    holds: fn(DType) -> bool,
}

impl Types {
    /// Whether the type is in the set.
    pub fn hold(&self, dtype: DType) -> bool {
        (self.holds)(dtype)
    }

    /// Checks the type of input `index`.
    ///
    /// # Errors
    /// [`OpError::DType`] when it is not in the set.
    pub fn check(&self, index: usize, dtype: DType) -> Result<(), OpError> {
        if self.hold(dtype) { Ok(()) } else { Err(OpError::dtype(index, self.name, dtype)) }
    }
}

/// float16, bfloat16, float32, float64.
pub const FLOATS: Types = Types { name: "a float type of 16 bits or more", holds: is_wide_float };

/// The floats of 8 bits or more.
pub const FLOATS_AND_FLOAT8: Types = Types {
    name: "a float type of 8 bits or more",
    holds: |dtype| {
        use DType::{F8E4M3Fn, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz};
        is_wide_float(dtype) || matches!(dtype, F8E4M3Fn | F8E4M3Fnuz | F8E5M2 | F8E5M2Fnuz)
    },
};

/// Integers of 8 to 64 bits.
pub const INTEGERS: Types = Types { name: "an integer type of 8 to 64 bits", holds: is_wide_integer };

/// Floats of 16 bits or more and integers of 8 to 64 bits.
pub const NUMBERS: Types = Types {
    name: "a float type of 16 bits or more or an integer type of 8 to 64 bits",
    holds: |dtype| is_wide_float(dtype) || is_wide_integer(dtype),
};

/// Floats of 16 bits or more and signed integers of 8 to 64 bits.
pub const SIGNED: Types = Types {
    name: "a float type of 16 bits or more or a signed integer type of 8 to 64 bits",
    holds: |dtype| is_wide_float(dtype) || (is_wide_integer(dtype) && dtype.is_signed_integer()),
};

/// Truth values.
pub const TRUTH: Types = Types { name: "bool", holds: |dtype| dtype == DType::Bool };

/// [`NUMBERS`] and truth values.
pub const NUMBERS_AND_TRUTH: Types = Types {
    name: "bool, a float type of 16 bits or more or an integer type of 8 to 64 bits",
    holds: |dtype| NUMBERS.hold(dtype) || dtype == DType::Bool,
};

/// [`NUMBERS`], truth values and strings.
pub const COMPARABLE: Types = Types {
    name: "bool, string, a float type of 16 bits or more or an integer type of 8 to 64 bits",
    holds: |dtype| NUMBERS_AND_TRUTH.hold(dtype) || dtype == DType::String,
};

fn is_wide_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
}

fn is_wide_integer(dtype: DType) -> bool {
    dtype.is_integer() && dtype.file_bits() >= 8
}
