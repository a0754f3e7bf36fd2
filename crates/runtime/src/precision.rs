//! In what precision models compute.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// In what precision a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// As the model says: f32 is f32.
    #[default]
    F32,
    /// The fastest that keeps the model's accuracy. Today the same as [`Precision::F32`].
    Auto,
}

impl FromStr for Precision {
    type Err = Error;
    fn from_str(text: &str) -> Result<Precision, Error> {
        match text {
            "f32" => Ok(Precision::F32),
            "auto" => Ok(Precision::Auto),
            other => {
                Err(Error::Unsupported(format!("precision `{other}`; this build computes in f32 (or auto)")))
            }
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Auto => "auto",
        })
    }
}
