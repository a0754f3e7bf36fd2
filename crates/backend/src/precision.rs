//! In what precision models compute.

use std::fmt;
use std::str::FromStr;

use inferrum_tensor::DType;

/// In what precision a model computes. Sums of products are float32 in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// As the model says: f32 is f32.
    #[default]
    F32,
    /// As the model says, but products and convolutions of float32 round their factors to 10 bits (TensorFloat-32).
    Tf32,
    /// float32 is stored as float16, where a kernel takes that.
    F16,
    /// float32 is stored as bfloat16, where a kernel takes that.
    Bf16,
    /// The fastest that keeps the model's accuracy. Today the same as [`Precision::F32`].
    Auto,
}

/// Names and precisions.
const NAMES: [(&str, Precision); 5] = [
    ("f32", Precision::F32),
    ("tf32", Precision::Tf32),
    ("f16", Precision::F16),
    ("bf16", Precision::Bf16),
    ("auto", Precision::Auto),
];

/// A word that names no precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no precision; use f32, tf32, f16, bf16 or auto")]
pub struct PrecisionParseError(pub String);

impl Precision {
    /// The type in which float32 is stored, if that changes.
    pub fn narrow(self) -> Option<DType> {
        match self {
            Precision::F16 => Some(DType::F16),
            Precision::Bf16 => Some(DType::BF16),
            Precision::F32 | Precision::Tf32 | Precision::Auto => None,
        }
    }

    /// Whether the model computes as it says.
    pub fn is_strict(self) -> bool {
        matches!(self, Precision::F32 | Precision::Auto)
    }
}

impl FromStr for Precision {
    type Err = PrecisionParseError;

    fn from_str(text: &str) -> Result<Precision, PrecisionParseError> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, precision)| *precision).ok_or_else(|| PrecisionParseError(text.to_owned()))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, precision)| precision == self);
        f.write_str(name.map_or("f32", |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (name, precision) in NAMES {
            assert_eq!((name.parse(), precision.to_string().as_str()), (Ok(precision), name));
        }
        assert!("F64".parse::<Precision>().unwrap_err().to_string().contains("tf32"));
    }
}
