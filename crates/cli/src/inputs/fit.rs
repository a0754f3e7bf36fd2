//! Values as an input takes them.

use anyhow::{Result, bail, ensure};
use inferrum::graph::Fact;
use inferrum::{DType, Tensor, Value};

/// The value in the element type that the input takes, where nothing but precision is lost: NumPy makes float64 and
/// int64 of everything, models take float32 and int32.
pub(super) fn fit(value: Value, fact: &Fact) -> Result<Value> {
    let (Value::Tensor(tensor), Fact::Tensor(wanted)) = (&value, fact) else { return Ok(value) };
    if tensor.dtype() == wanted.dtype {
        return Ok(value);
    }
    let (from, to) = (tensor.dtype(), wanted.dtype);
    let whole = |dtype: DType| dtype.is_integer() || dtype == DType::Bool;
    let converted = if from.is_float() && to.is_float() || whole(from) && to.is_float() {
        Tensor::from_f64(to, tensor.shape().clone(), &tensor.to_f64()?)?
    } else if whole(from) && to.is_integer() {
        // Of uint64, int64 has the lower half; the upper one would come out negative, and so the other way round.
        let numbers = tensor.to_i64()?;
        let half = (from == DType::U64 || to == DType::U64) && numbers.iter().any(|&n| n < 0);
        let converted = Tensor::from_i64(to, tensor.shape().clone(), &numbers)?;
        ensure!(!half && converted.to_i64()? == numbers, "it holds numbers that {to} does not have");
        converted
    } else {
        bail!("expected {fact}, got {}", value.describe());
    };
    log::info!("{from} is converted to {to}");
    Ok(converted.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_converted_where_nothing_is_lost() {
        let fact = |dtype| Fact::of_dtype(dtype);
        let fitted = |value: Tensor, dtype| fit(value.into(), &fact(dtype)).map(|v| v.into_tensor().unwrap());
        let doubles = Tensor::vector(vec![0.5f64, -2.0]);
        assert_eq!(fitted(doubles.clone(), DType::F32).unwrap(), Tensor::vector(vec![0.5f32, -2.0]));
        assert!(fitted(doubles, DType::I64).is_err());
        let longs = Tensor::vector(vec![1i64, 300]);
        assert_eq!(fitted(longs.clone(), DType::I32).unwrap(), Tensor::vector(vec![1i32, 300]));
        assert!(fitted(longs.clone(), DType::U8).is_err());
        assert_eq!(fitted(longs, DType::U64).unwrap(), Tensor::vector(vec![1u64, 300]));
        assert!(fitted(Tensor::vector(vec![-1i64]), DType::U64).is_err());
        assert!(fitted(Tensor::vector(vec![u64::MAX]), DType::I64).is_err());
    }
}
