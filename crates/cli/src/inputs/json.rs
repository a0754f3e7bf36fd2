//! JSON as inputs: nested lists, by name or alone.

use anyhow::{Context, Result, bail, ensure};
use inferrum::graph::Fact;
use inferrum::{DType, MapKeys, Tensor, Value, ValueInfo};
use serde_json::{Map, Value as Json};

/// Whether the fields of an object are inputs of the model.
pub(super) fn is_named(fields: &Map<String, Json>, inputs: &[ValueInfo]) -> bool {
    let known = |name: &String| inputs.iter().any(|input| input.name == *name);
    let only_takes_objects = matches!(inputs, [only] if takes_objects(&only.fact));
    fields.keys().any(known) || !fields.contains_key("data") && !only_takes_objects
}

/// Whether an object is a value.
fn takes_objects(fact: &Fact) -> bool {
    match fact {
        Fact::Map { .. } => true,
        Fact::Optional(inner) => takes_objects(inner),
        _ => false,
    }
}

/// The value that JSON gives for an input: nested lists of numbers or strings, or `{"shape": .., "data": ..}` as
/// `inferrum run --format json` prints it; for a sequence a list, for a map an object.
pub(super) fn value(json: &Json, fact: &Fact) -> Result<Value> {
    match fact {
        Fact::Tensor(tensor) => Ok(self::tensor(json, tensor.dtype)?.into()),
        Fact::Unknown => Ok(self::tensor(json, DType::F32)?.into()),
        Fact::Sequence(inner) => {
            let items = json.as_array().with_context(|| format!("expected a list for {fact}"))?;
            Ok(Value::Sequence(items.iter().map(|item| value(item, inner)).collect::<Result<_>>()?))
        }
        Fact::Optional(_) if json.is_null() => Ok(Value::Optional(None)),
        Fact::Optional(inner) => Ok(Value::Optional(Some(Box::new(value(json, inner)?)))),
        Fact::Map { key, value } => {
            let fields = json.as_object().with_context(|| format!("expected an object for {fact}"))?;
            let keys = if *key == DType::String {
                MapKeys::String(fields.keys().cloned().collect())
            } else {
                let number = |key: &String| key.parse().with_context(|| format!("`{key}` is no integer key"));
                MapKeys::Int(fields.keys().map(number).collect::<Result<_>>()?)
            };
            let values: Vec<Json> = fields.values().cloned().collect();
            Ok(Value::Map { keys, values: self::tensor(&Json::Array(values), *value)? })
        }
    }
}

fn tensor(json: &Json, dtype: DType) -> Result<Tensor> {
    if let Some(fields) = json.as_object() {
        let data = fields.get("data").context("expected lists, or an object with `shape` and `data`")?;
        let flat = self::tensor(data, dtype)?;
        let Some(shape) = fields.get("shape") else { return Ok(flat) };
        let shape: Vec<usize> =
            serde_json::from_value(shape.clone()).context("`shape` is no list of extents")?;
        return Ok(flat.reshape(shape)?);
    }
    let mut leaves = Vec::new();
    let mut shape = Vec::new();
    flatten(json, 0, &mut shape, &mut leaves)?;
    if dtype == DType::String {
        let text =
            |leaf: &&Json| leaf.as_str().map(str::to_owned).with_context(|| format!("{leaf} is no string"));
        let strings = leaves.iter().map(text).collect::<Result<_>>()?;
        return Ok(Tensor::from_strings(shape, strings)?);
    }
    if dtype == DType::U64 {
        let whole = |leaf: &&Json| leaf.as_u64().with_context(|| format!("{leaf} is no {dtype}"));
        return Ok(Tensor::from_vec(shape, leaves.iter().map(whole).collect::<Result<Vec<u64>>>()?)?);
    }
    if dtype.is_integer() {
        let whole = |leaf: &&Json| leaf.as_i64().with_context(|| format!("{leaf} is no {dtype}"));
        let numbers: Vec<i64> = leaves.iter().map(whole).collect::<Result<_>>()?;
        let tensor = Tensor::from_i64(dtype, shape, &numbers)?;
        ensure!(tensor.to_i64()? == numbers, "it holds numbers that {dtype} does not have");
        return Ok(tensor);
    }
    let numbers: Vec<f64> = leaves.iter().map(|leaf| number(leaf, dtype)).collect::<Result<_>>()?;
    Ok(Tensor::from_f64(dtype, shape, &numbers)?)
}

/// The elements of nested lists in order, and the shape: every list of one depth has the same length.
fn flatten<'a>(
    json: &'a Json,
    depth: usize,
    shape: &mut Vec<usize>,
    leaves: &mut Vec<&'a Json>,
) -> Result<()> {
    let Json::Array(items) = json else {
        ensure!(depth == shape.len(), "its lists are nested unevenly");
        leaves.push(json);
        return Ok(());
    };
    if depth == shape.len() {
        ensure!(leaves.is_empty(), "its lists are nested unevenly");
        shape.push(items.len());
    }
    ensure!(shape[depth] == items.len(), "its lists have {} and {} items", shape[depth], items.len());
    items.iter().try_for_each(|item| flatten(item, depth + 1, shape, leaves))
}

fn number(leaf: &Json, dtype: DType) -> Result<f64> {
    match leaf {
        Json::Bool(truth) if dtype == DType::Bool => Ok(f64::from(u8::from(*truth))),
        Json::Number(number) if dtype == DType::Bool && matches!(number.as_u64(), Some(0 | 1)) => {
            number.as_f64().context("0 or 1")
        }
        Json::Number(number) if dtype != DType::Bool => number.as_f64().context("a number is too large"),
        Json::String(text) if dtype.is_float() => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => bail!("{leaf} is no {dtype}"),
        },
        _ => bail!("{leaf} is no {dtype}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: Json, dtype: DType) -> Result<Tensor> {
        Ok(value(&json, &Fact::of_dtype(dtype))?.into_tensor().unwrap())
    }

    #[test]
    fn lists_give_the_shape() {
        let tensor = read(json!([[1, 2.5, "NaN"], [4, "-Infinity", 6]]), DType::F32).unwrap();
        assert_eq!(tensor.shape().dims(), [2, 3]);
        assert!(tensor.as_slice::<f32>().unwrap()[2].is_nan());
        assert_eq!(read(json!(7), DType::I64).unwrap(), Tensor::scalar(7i64));
        assert_eq!(read(json!([]), DType::F32).unwrap().shape().dims(), [0]);
        assert_eq!(read(json!([true, false]), DType::Bool).unwrap(), Tensor::vector(vec![true, false]));
        assert_eq!(read(json!([1, 0]), DType::Bool).unwrap(), Tensor::vector(vec![true, false]));
        assert_eq!(read(json!([u64::MAX, 1]), DType::U64).unwrap(), Tensor::vector(vec![u64::MAX, 1]));
        let shaped = read(json!({"dtype": "int8", "shape": [2, 1], "data": [1, 2]}), DType::I8).unwrap();
        assert_eq!(shaped.shape().dims(), [2, 1]);
    }

    #[test]
    fn malformed_lists_are_errors() {
        for json in
            [json!([[1, 2], [3]]), json!([1, [2]]), json!([[1], 2]), json!("x"), json!([null]), json!({})]
        {
            assert!(read(json.clone(), DType::F32).is_err(), "{json}");
        }
        assert!(read(json!([1.5]), DType::I64).is_err());
        assert!(read(json!([300]), DType::U8).is_err());
        assert!(read(json!([-1]), DType::U64).is_err());
        assert!(read(json!([2]), DType::Bool).is_err());
    }

    #[test]
    fn maps_are_objects() {
        let fact = Fact::Map { key: DType::I64, value: DType::F32 };
        let Value::Map { keys, values } = value(&json!({"3": 0.5}), &fact).unwrap() else { panic!("a map") };
        assert_eq!(keys, MapKeys::Int(vec![3]));
        assert_eq!(values, Tensor::vector(vec![0.5f32]));
        assert!(value(&json!({"x": 0.5}), &fact).is_err());
    }
}
