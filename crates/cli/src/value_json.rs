//! Values as JSON.

use anyhow::Result;
use inferrum::graph::Fact;
use inferrum::{DType, MapKeys, Tensor, Value};
use serde_json::{Map, Value as Json, json};

/// A tensor as `{"dtype", "shape", "data"}` with `data` flat and row-major, a sequence as a list, a map as an object,
/// an absent optional as null. NaN and infinities, which JSON lacks, are strings.
pub(crate) fn value(value: &Value) -> Result<Json> {
    Ok(match value {
        Value::Tensor(tensor) => {
            json!({ "dtype": tensor.dtype().name(), "shape": tensor.shape().dims(), "data": elements(tensor)? })
        }
        Value::Sequence(items) => Json::Array(items.iter().map(self::value).collect::<Result<_>>()?),
        Value::Optional(None) => Json::Null,
        Value::Optional(Some(inner)) => self::value(inner)?,
        Value::Map { keys, values } => {
            let keys: Vec<String> = match keys {
                MapKeys::Int(keys) => keys.iter().map(i64::to_string).collect(),
                MapKeys::String(keys) => keys.clone(),
            };
            Json::Object(keys.into_iter().zip(elements(values)?).collect::<Map<_, _>>())
        }
    })
}

/// The elements in order.
fn elements(tensor: &Tensor) -> Result<Vec<Json>> {
    Ok(match tensor.dtype() {
        DType::String => tensor.as_strings()?.iter().cloned().map(Json::from).collect(),
        DType::Bool => tensor.as_slice::<bool>()?.iter().copied().map(Json::from).collect(),
        DType::U64 => tensor.as_slice::<u64>()?.iter().copied().map(Json::from).collect(),
        DType::Complex64 => tensor
            .as_slice::<[f32; 2]>()?
            .iter()
            .map(|x| Json::from(x.map(|x| float(x.into())).to_vec()))
            .collect(),
        DType::Complex128 => {
            tensor.as_slice::<[f64; 2]>()?.iter().map(|x| Json::from(x.map(float).to_vec())).collect()
        }
        // The shortest text that gives the same float32 again.
        DType::F32 => {
            let shortest = |&x: &f32| float(x.to_string().parse().unwrap_or(f64::from(x)));
            tensor.as_slice::<f32>()?.iter().map(shortest).collect()
        }
        dtype if dtype.is_integer() => tensor.to_i64()?.into_iter().map(Json::from).collect(),
        _ => tensor.to_f64()?.into_iter().map(float).collect(),
    })
}

fn float(x: f64) -> Json {
    if x.is_nan() {
        "NaN".into()
    } else if x.is_infinite() {
        if x > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        x.into()
    }
}

/// An input or output: `{"name", "type", "dtype", "shape"}`; an extent is a number, a name or null.
pub(crate) fn named_fact(name: &str, fact: &Fact) -> Json {
    let Some(tensor) = fact.as_tensor() else { return json!({ "name": name, "type": fact.to_string() }) };
    let dims = tensor.shape.dims().map(|dims| {
        let dim = |dim: &inferrum::graph::SymDim| match dim {
            inferrum::graph::SymDim::Known(n) => Json::from(*n),
            inferrum::graph::SymDim::Symbol(name) => Json::from(&**name),
            inferrum::graph::SymDim::Unknown => Json::Null,
        };
        dims.iter().map(dim).collect::<Vec<_>>()
    });
    json!({ "name": name, "type": fact.to_string(), "dtype": tensor.dtype.name(), "shape": dims })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_has_a_form() {
        let tensor = Tensor::from_vec([1, 3], vec![0.1f32, f32::NAN, f32::NEG_INFINITY]).unwrap();
        let want = json!({"dtype": "float32", "shape": [1, 3], "data": [0.1, "NaN", "-Infinity"]});
        assert_eq!(value(&tensor.clone().into()).unwrap(), want);
        assert_eq!(value(&Value::Sequence(vec![tensor.into()])).unwrap(), json!([want]));
        assert_eq!(value(&Value::Optional(None)).unwrap(), Json::Null);
        let map = Value::Map { keys: MapKeys::Int(vec![5]), values: Tensor::vector(vec![2i64]) };
        assert_eq!(value(&map).unwrap(), json!({"5": 2}));
    }
}
