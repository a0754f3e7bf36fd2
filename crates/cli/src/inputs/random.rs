//! Inputs that are made up.

use anyhow::{Context, Result, bail};
use inferrum::graph::Fact;
use inferrum::{DType, Tensor, Value};

/// Pseudo-random numbers, the same for the same seed on every machine: SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to 1, 1 excluded.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A value for an input: floats from -1 to 1; integers 0 or 1, because many are indices, but bytes of any value;
    /// ones for integers of an input whose name speaks of a mask, because a mask of zeros hides everything.
    pub(crate) fn value(&mut self, name: &str, fact: &Fact) -> Result<Value> {
        match fact {
            Fact::Tensor(tensor) => {
                let shape = tensor.shape.concrete().context("its shape is not known")?;
                let mask = name.to_lowercase().contains("mask");
                let bytes = shape.elements().saturating_mul(tensor.dtype.size().max(1));
                // Nothing is taken from a shape that is merely read before memory for it is granted.
                let mut room: Vec<f64> = Vec::new();
                room.try_reserve_exact(shape.elements()).map_err(|_| {
                    anyhow::anyhow!("{shape} takes {bytes} bytes, which the memory does not hold")
                })?;
                if tensor.dtype == DType::String {
                    let strings = (0..shape.elements()).map(|i| format!("text {i}")).collect();
                    return Ok(Tensor::from_strings(shape, strings)?.into());
                }
                room.extend((0..shape.elements()).map(|_| self.element(tensor.dtype, mask)));
                Ok(Tensor::from_f64(tensor.dtype, shape, &room)?.into())
            }
            Fact::Sequence(inner) => Ok(Value::Sequence(vec![self.value(name, inner)?])),
            Fact::Optional(inner) => Ok(Value::Optional(Some(Box::new(self.value(name, inner)?)))),
            other => bail!("it is {other}"),
        }
    }

    fn element(&mut self, dtype: DType, mask: bool) -> f64 {
        match dtype {
            DType::U8 => (self.unit() * 256.0).floor(),
            DType::I8 => (self.unit() * 256.0).floor() - 128.0,
            dtype if dtype.is_integer() || dtype == DType::Bool => {
                if mask {
                    1.0
                } else {
                    (self.unit() * 2.0).floor()
                }
            }
            _ => self.unit() * 2.0 - 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(seed: u64, dtype: DType) -> Tensor {
        Random::new(seed).value("x", &Fact::tensor(dtype, [100])).unwrap().into_tensor().unwrap()
    }

    #[test]
    fn a_seed_gives_the_same_values_again() {
        assert_eq!(tensor(7, DType::F32), tensor(7, DType::F32));
        assert_ne!(tensor(7, DType::F32), tensor(8, DType::F32));
    }

    #[test]
    fn values_suit_the_type() {
        let range = |dtype| {
            let values = tensor(1, dtype).to_f64().unwrap();
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            (low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        };
        let (low, high) = range(DType::F32);
        assert!((-1.0..-0.5).contains(&low) && (0.5..1.0).contains(&high));
        assert_eq!(range(DType::I64), (0.0, 1.0));
        assert_eq!(range(DType::Bool), (0.0, 1.0));
        let (low, high) = range(DType::U8);
        assert!(low < 64.0 && high > 192.0 && high < 256.0);
    }

    #[test]
    fn shapes_beyond_memory_are_errors() {
        let fact = Fact::tensor(DType::F32, [1 << 40, 1 << 20]);
        assert!(Random::new(0).value("x", &fact).is_err());
    }
}
