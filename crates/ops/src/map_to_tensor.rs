//! `ai.onnx.ml.CastMap`, `ai.onnx.ml.DictVectorizer`
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_DictVectorizer.html>), one version each.

use std::collections::HashMap;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, MapKeys, Tensor, Value};

use crate::OpEntry;
use crate::features::matrix;
use crate::index::{take, take_or};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::ml("CastMap", 1, CastMap::parse), OpEntry::ml("DictVectorizer", 1, DictVectorizer::parse)];

/// The values of a dictionary in the order of a vocabulary. Input: a dictionary; output: `[1, vocabulary]` of its
/// values' type, with zero (an empty string) where it has no such key.
#[derive(Debug, Clone, PartialEq)]
pub struct DictVectorizer {
    /// The keys, in the output's order.
    pub vocabulary: MapKeys,
}

/// The values of a dictionary with integer keys, in ascending order of those. Input: values of float32 or string;
/// output: `[1, values]`, or `[1, length]` with each value at the place of its key.
#[derive(Debug, Clone, PartialEq)]
pub struct CastMap {
    /// The output's element type: float32, int64 or string.
    pub to: DType,
    /// The output's extent, if keys are places.
    pub length: Option<usize>,
}

/// The length of a sparse output at most: the file states it, and nothing in the input stands for it.
const LONGEST: i64 = 1 << 24;

/// The dictionary that input 0 is.
fn dictionary<'a>(inputs: &Inputs<'a>) -> Result<(&'a MapKeys, &'a Tensor), OpError> {
    match inputs.require(0)? {
        Value::Map { keys, values } => Ok((keys, values)),
        other => Err(OpError::Kind { index: 0, expected: "a dictionary", got: other.describe() }),
    }
}

/// The types of keys and values of the dictionary that input 0 is.
fn dictionary_types(inputs: Facts<'_>) -> Result<(DType, DType), OpError> {
    match inputs.require(0)? {
        Fact::Map { key, value } => Ok((*key, *value)),
        other => Err(OpError::Kind { index: 0, expected: "a dictionary", got: other.to_string() }),
    }
}

impl DictVectorizer {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let vocabulary = match (def.ints("int64_vocabulary")?, def.strings("string_vocabulary")?) {
            (Some(ints), None) => MapKeys::Int(ints),
            (None, Some(texts)) => MapKeys::String(texts),
            (ints, _) => {
                let got = if ints.is_some() { "both" } else { "neither" };
                return Err(OpError::attribute(
                    "int64_vocabulary",
                    "either this or `string_vocabulary`",
                    got,
                ));
            }
        };
        Ok(Arc::new(DictVectorizer { vocabulary }))
    }
}

impl Operator for DictVectorizer {
    fn key(&self) -> OpKey {
        OpKey::ml("DictVectorizer")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (key, value) = dictionary_types(inputs)?;
        if key != self.vocabulary.dtype() {
            return Err(OpError::dtype(
                0,
                format!("{} keys, as the vocabulary", self.vocabulary.dtype()),
                key,
            ));
        }
        Ok(vec![Fact::tensor(value, matrix(SymDim::Known(1), self.vocabulary.len()))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (keys, values) = dictionary(&inputs)?;
        let places: Vec<Option<usize>> = match (&self.vocabulary, keys) {
            (MapKeys::Int(wanted), MapKeys::Int(keys)) => places(wanted, keys),
            (MapKeys::String(wanted), MapKeys::String(keys)) => places(wanted, keys),
            _ => return Err(OpError::dtype(0, format!("{} keys", self.vocabulary.dtype()), keys.dtype())),
        };
        Ok(vec![take_or(values, [1, places.len()], places, None)?.into()])
    }
}

fn places<K: Eq + std::hash::Hash>(wanted: &[K], keys: &[K]) -> Vec<Option<usize>> {
    let places: HashMap<&K, usize> = keys.iter().zip(0..).collect();
    wanted.iter().map(|key| places.get(key).copied()).collect()
}

impl CastMap {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let to = match def.string_or("cast_to", "TO_FLOAT")?.as_str() {
            "TO_FLOAT" => DType::F32,
            "TO_INT64" => DType::I64,
            "TO_STRING" => DType::String,
            other => return Err(OpError::attribute("cast_to", "TO_FLOAT, TO_INT64 or TO_STRING", other)),
        };
        let most = def.int_or("max_map", 1)?;
        let length = match def.string_or("map_form", "DENSE")?.as_str() {
            "DENSE" => None,
            "SPARSE" if (0..=LONGEST).contains(&most) => Some(most as usize),
            "SPARSE" => return Err(OpError::attribute("max_map", format!("0 to {LONGEST}"), most)),
            other => return Err(OpError::attribute("map_form", "DENSE or SPARSE", other)),
        };
        Ok(Arc::new(CastMap { to, length }))
    }

    /// The values in the output's type.
    fn cast(&self, values: &Tensor) -> Result<Tensor, OpError> {
        let shape = values.shape().clone();
        let unreadable = |text: &String| OpError::value(0, format!("{text:?} is no number"));
        match (values.dtype(), self.to) {
            (from, to) if from == to => Ok(values.clone()),
            (DType::String, DType::F32) => {
                let numbers: Result<Vec<f32>, OpError> = values
                    .as_strings()?
                    .iter()
                    .map(|text| text.trim().parse().map_err(|_| unreadable(text)))
                    .collect();
                Ok(Tensor::from_vec(shape, numbers?)?)
            }
            (DType::String, _) => {
                let numbers: Result<Vec<i64>, OpError> = values
                    .as_strings()?
                    .iter()
                    .map(|text| text.trim().parse().map_err(|_| unreadable(text)))
                    .collect();
                Ok(Tensor::from_vec(shape, numbers?)?)
            }
            // Six digits, as C++'s `to_string` gives.
            (_, DType::String) => Ok(Tensor::from_strings(
                shape,
                values.to_f64()?.iter().map(|value| format!("{value:.6}")).collect(),
            )?),
            (_, to) => Ok(Tensor::from_i64(to, shape, &values.to_i64()?)?),
        }
    }

    /// What stands where there is no value.
    fn padding(&self) -> Result<Tensor, OpError> {
        Ok(match self.to {
            DType::String => Tensor::from_strings([1], vec!["0.f".into()])?,
            to => Tensor::zeros(to, [1])?,
        })
    }
}

impl Operator for CastMap {
    fn key(&self) -> OpKey {
        OpKey::ml("CastMap")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (key, value) = dictionary_types(inputs)?;
        if key != DType::I64 {
            return Err(OpError::dtype(0, "int64 keys", key));
        }
        if !matches!(value, DType::F32 | DType::String) {
            return Err(OpError::dtype(0, "float32 or string values", value));
        }
        let length = self.length.map_or(SymDim::Unknown, SymDim::Known);
        Ok(vec![Fact::tensor(self.to, matrix(SymDim::Known(1), length))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (keys, values) = dictionary(&inputs)?;
        let MapKeys::Int(keys) = keys else { return Err(OpError::dtype(0, "int64 keys", keys.dtype())) };
        let mut order: Vec<(i64, usize)> = keys.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let values = self.cast(values)?;
        let Some(length) = self.length else {
            return Ok(vec![take(&values, [1, order.len()], order.iter().map(|&(_, place)| place))?.into()]);
        };
        if let Some(&(key, _)) = order.first().filter(|(key, _)| *key < 0) {
            return Err(OpError::value(0, format!("keys are places of 0 or more, got {key}")));
        }
        let mut order = order.into_iter().peekable();
        let places =
            (0..length as i64).map(|place| order.next_if(|&(key, _)| key == place).map(|(_, place)| place));
        Ok(vec![take_or(&values, [1, length], places, Some(&self.padding()?))?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: &dyn Operator, keys: MapKeys, values: Tensor) -> Result<Tensor, OpError> {
        let map = Value::Map { keys, values };
        let inputs = [Some(&map)];
        let fact = Inputs(&inputs).with_facts(|facts| op.infer(facts))?.remove(0);
        let output = op.reference(Inputs(&inputs))?.remove(0);
        assert!(fact.merge(&Fact::of(&output)).is_some(), "{fact} but {}", output.describe());
        Ok(output.into_tensor().unwrap())
    }

    #[test]
    fn a_dictionary_is_read_in_the_order_of_the_vocabulary() {
        let words = |words: &[&str]| MapKeys::String(words.iter().map(|s| s.to_string()).collect());
        let op = DictVectorizer { vocabulary: words(&["a", "c", "b"]) };
        let y = run(&op, words(&["b", "a", "x"]), Tensor::vector(vec![4i64, 8, 9])).unwrap();
        assert_eq!(y, Tensor::from_vec([1, 3], vec![8i64, 0, 4]).unwrap());
        assert!(run(&op, MapKeys::Int(vec![1]), Tensor::vector(vec![4i64])).is_err());
    }

    #[test]
    fn keys_order_values_or_place_them() {
        let keys = || MapKeys::Int(vec![3, 0]);
        let values = || Tensor::vector(vec![1.5f32, -2.5]);
        let dense = CastMap { to: DType::I64, length: None };
        assert_eq!(run(&dense, keys(), values()).unwrap(), Tensor::from_vec([1, 2], vec![-2i64, 1]).unwrap());
        let sparse = CastMap { to: DType::F32, length: Some(3) };
        assert_eq!(
            run(&sparse, keys(), values()).unwrap(),
            Tensor::from_vec([1, 3], vec![-2.5f32, 0.0, 0.0]).unwrap()
        );
        let text = CastMap { to: DType::String, length: Some(2) };
        assert_eq!(run(&text, keys(), values()).unwrap().as_strings().unwrap(), ["-2.500000", "0.f"]);
        let numbers = Tensor::from_strings([2], vec!["7".into(), "x".into()]).unwrap();
        assert!(run(&sparse, keys(), numbers).is_err());
        assert!(run(&sparse, MapKeys::Int(vec![-1]), Tensor::vector(vec![0f32])).is_err());
    }
}
