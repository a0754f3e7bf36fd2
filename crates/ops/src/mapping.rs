//! Looks up elements of any type: numbers by value, texts.

use std::collections::HashMap;

use inferrum_graph::OpError;
use inferrum_tensor::{DType, Tensor};

/// Places of keys. Floats are equal as in C, except that NaN equals NaN; of equal keys the last one counts.
#[derive(Clone)]
pub(crate) enum Places {
    Int(HashMap<i64, usize>),
    /// By bits.
    Float(HashMap<u64, usize>),
    String(HashMap<String, usize>),
}

/// The bits of a float such that equal floats have equal ones.
fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

impl Places {
    /// The places of the elements of `keys`.
    ///
    /// # Errors
    /// Keys that are no numbers and no texts; memory.
    pub(crate) fn of(keys: &Tensor) -> Result<Places, OpError> {
        Ok(match keys.dtype() {
            DType::String => Places::String(keys.as_strings()?.iter().cloned().zip(0..).collect()),
            dtype if dtype.is_float() => {
                Places::Float(keys.to_f64()?.into_iter().map(bits).zip(0..).collect())
            }
            _ => Places::Int(keys.to_i64()?.into_iter().zip(0..).collect()),
        })
    }

    /// For each element of a tensor, the place of the key that equals it. Floats are truncated to look for integers.
    ///
    /// # Errors
    /// Texts are looked for among numbers, or the other way round; memory.
    pub(crate) fn find(&self, elements: &Tensor) -> Result<Vec<Option<usize>>, OpError> {
        Ok(match self {
            Places::String(places) => {
                elements.as_strings()?.iter().map(|key| places.get(key).copied()).collect()
            }
            Places::Float(places) => {
                elements.to_f64()?.iter().map(|&key| places.get(&bits(key)).copied()).collect()
            }
            Places::Int(places) => elements.to_i64()?.iter().map(|key| places.get(key).copied()).collect(),
        })
    }
}
