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
        let converted = Tensor::from_i64(to, tensor.shape().clone(), &tensor.to_i64()?)?;
        ensure!(converted.to_i64()? == tensor.to_i64()?, "it holds numbers that {to} does not have");
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
        assert!(fitted(longs, DType::U8).is_err());
    }
}
