//! `ai.onnx.ml.LabelEncoder`, `ai.onnx.ml.CategoryMapper`
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html>).
//!
//! The first version of `LabelEncoder` numbered its texts and worked in either direction, as `CategoryMapper` does with
//! given numbers; version 2 maps any keys to any values, version 4 also as tensors.

use std::fmt;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::digest::Table;
use crate::index::take_or;
use crate::mapping::Places;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::ml("LabelEncoder", 1, LabelEncoder::parse),
    OpEntry::ml("CategoryMapper", 1, CategoryMapper::parse),
];

/// Replaces keys by values. Input: any shape, the keys' type; output: of the same shape, the values' type.
pub struct LabelEncoder {
    /// What is looked up, shape `[keys]`.
    pub keys: Tensor,
    /// What it becomes, shape `[keys]`.
    pub values: Tensor,
    /// What anything else becomes, one element.
    pub default: Tensor,
    places: Places,
}

/// Replaces texts by numbers, or numbers by texts. Input: any shape, string or int64; output: of the same shape, the
/// other type.
#[derive(Clone)]
pub struct CategoryMapper {
    /// The texts, shape `[categories]`.
    pub texts: Tensor,
    /// Their numbers, shape `[categories]` of int64.
    pub numbers: Tensor,
    /// What an unknown number becomes.
    pub default_text: String,
    /// What an unknown text becomes.
    pub default_number: i64,
    text_places: Places,
    number_places: Places,
}

/// A list attribute as a tensor: `NAME_strings`, `NAME_int64s`, `NAME_floats` or `NAME_tensor`.
fn list(def: &mut NodeDef, name: &str) -> Result<Tensor, OpError> {
    let mut found: Vec<Tensor> = Vec::new();
    if let Some(texts) = def.strings(&format!("{name}_strings"))?.filter(|list| !list.is_empty()) {
        found.push(Tensor::from_strings([texts.len()], texts)?);
    }
    found.extend(def.ints(&format!("{name}_int64s"))?.filter(|list| !list.is_empty()).map(Tensor::vector));
    found.extend(def.floats(&format!("{name}_floats"))?.filter(|list| !list.is_empty()).map(Tensor::vector));
    found.extend(def.tensor(&format!("{name}_tensor"))?);
    match (found.pop(), found.is_empty()) {
        (Some(list), true) => Ok(list.reshape([list.len()])?),
        (last, _) => {
            let got = if last.is_none() { "nothing" } else { "several" };
            Err(OpError::attribute(&format!("{name}_*"), "one list", got))
        }
    }
}

impl LabelEncoder {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset < 2 {
            let texts = def.strings("classes_strings")?.unwrap_or_default();
            let numbers = (0..texts.len() as i64).collect();
            return CategoryMapper::of(def, texts, numbers);
        }
        let (keys, values) = (list(def, "keys")?, list(def, "values")?);
        if keys.len() != values.len() {
            return Err(OpError::attribute(
                "values_*",
                format!("{} values, as keys", keys.len()),
                values.len(),
            ));
        }
        let text = def.string_or("default_string", "_Unused")?;
        let number = def.int_or("default_int64", -1)?;
        let float = def.float_or("default_float", -0.0)?;
        let default = match (def.tensor("default_tensor")?, values.dtype()) {
            (Some(default), dtype) if default.dtype() == dtype && default.len() == 1 => {
                default.reshape([1])?
            }
            (Some(default), dtype) => {
                let got = format!("{}[{}]", default.dtype(), default.shape());
                return Err(OpError::attribute(
                    "default_tensor",
                    format!("one element of {dtype}, as the values"),
                    got,
                ));
            }
            (None, DType::String) => Tensor::from_strings([1], vec![text])?,
            (None, dtype) if dtype.is_float() => Tensor::from_f64(dtype, [1], &[f64::from(float)])?,
            (None, dtype) => Tensor::from_i64(dtype, [1], &[number])?,
        };
        let places = Places::of(&keys)?;
        Ok(Arc::new(LabelEncoder { keys, values, default, places }))
    }
}

/// The elements of a short tensor, or a digest of a long one.
fn elements(tensor: &Tensor) -> String {
    match tensor.as_strings() {
        Ok(texts) => format!("{:?}", Table::from(texts.to_vec())),
        Err(_) => format!("{} {:?}", tensor.dtype(), Table::from(tensor.bytes().to_vec())),
    }
}

impl fmt::Debug for LabelEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [keys, values, default] = [&self.keys, &self.values, &self.default].map(elements);
        write!(f, "LabelEncoder {{ keys: {keys}, values: {values}, default: {default} }}")
    }
}

impl Operator for LabelEncoder {
    fn key(&self) -> OpKey {
        OpKey::ml("LabelEncoder")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        match inputs.dtype(0)? {
            dtype if dtype == self.keys.dtype() => {
                Ok(vec![Fact::tensor(self.values.dtype(), inputs.shape(0)?.clone())])
            }
            other => Err(OpError::dtype(0, format!("{}, as the keys", self.keys.dtype()), other)),
        }
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let places = self.places.find(x)?;
        Ok(vec![take_or(&self.values, x.shape().clone(), places, Some(&self.default))?.into()])
    }
}

impl CategoryMapper {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let texts = def.strings("cats_strings")?.unwrap_or_default();
        let numbers = def.ints("cats_int64s")?.unwrap_or_default();
        CategoryMapper::of(def, texts, numbers)
    }

    fn of(def: &mut NodeDef, texts: Vec<String>, numbers: Vec<i64>) -> Result<Arc<dyn Operator>, OpError> {
        if texts.len() != numbers.len() {
            return Err(OpError::attribute(
                "cats_int64s",
                format!("{} numbers, as cats_strings", texts.len()),
                numbers.len(),
            ));
        }
        let (texts, numbers) = (Tensor::from_strings([texts.len()], texts)?, Tensor::vector(numbers));
        Ok(Arc::new(CategoryMapper {
            text_places: Places::of(&texts)?,
            number_places: Places::of(&numbers)?,
            texts,
            numbers,
            default_text: def.string_or("default_string", "_Unused")?,
            default_number: def.int_or("default_int64", -1)?,
        }))
    }
}

impl fmt::Debug for CategoryMapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (texts, numbers) = (elements(&self.texts), elements(&self.numbers));
        let (text, number) = (&self.default_text, self.default_number);
        write!(f, "CategoryMapper {{ texts: {texts}, numbers: {numbers}, default: {text:?}, {number} }}")
    }
}

impl Operator for CategoryMapper {
    fn key(&self) -> OpKey {
        OpKey::ml("CategoryMapper")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = match inputs.dtype(0)? {
            DType::String => DType::I64,
            DType::I64 => DType::String,
            other => return Err(OpError::dtype(0, "string or int64", other)),
        };
        Ok(vec![Fact::tensor(dtype, inputs.shape(0)?.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let shape = x.shape().clone();
        Ok(vec![
            if x.dtype() == DType::String {
                let default = Tensor::vector(vec![self.default_number]);
                take_or(&self.numbers, shape, self.text_places.find(x)?, Some(&default))?
            } else {
                let default = Tensor::from_strings([1], vec![self.default_text.clone()])?;
                take_or(&self.texts, shape, self.number_places.find(x)?, Some(&default))?
            }
            .into(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn texts(texts: &[&str]) -> Tensor {
        Tensor::from_strings([texts.len()], texts.iter().map(|s| s.to_string()).collect()).unwrap()
    }

    fn strings(texts: &[&str]) -> Attr {
        Attr::Strings(texts.iter().map(|s| s.as_bytes().to_vec()).collect())
    }

    fn encoder(opset: i64, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
        parse_in("ai.onnx.ml", opset, "LabelEncoder", attrs)
    }

    #[test]
    fn the_last_of_equal_keys_counts_and_others_take_the_default() {
        let op = encoder(
            2,
            &[("keys_strings", strings(&["a", "b", "a"])), ("values_int64s", Attr::Ints(vec![1, 2, 3]))],
        );
        assert_eq!(run(&*op, &[texts(&["a", "b", "z"])])[0], Tensor::vector(vec![3i64, 2, -1]));
        assert!(try_run(&*op, &[Some(Tensor::vector(vec![1i64]))]).is_err());
    }

    #[test]
    fn nan_is_a_key_and_the_zeros_are_one() {
        let floats = Attr::Floats(vec![f32::NAN, 0.0]);
        let op = encoder(2, &[("keys_floats", floats), ("values_strings", strings(&["n", "z"]))]);
        let x = Tensor::vector(vec![-f32::NAN, 0.0, -0.0, 1.0]);
        assert_eq!(run(&*op, &[x])[0].as_strings().unwrap(), ["n", "z", "z", "_Unused"]);
    }

    #[test]
    fn tensors_are_keys_values_and_defaults() {
        let op = encoder(
            4,
            &[
                ("keys_tensor", Attr::Tensor(Tensor::vector(vec![5i16, 6]))),
                ("values_tensor", Attr::Tensor(Tensor::vector(vec![0.5f64, 0.25]))),
                ("default_tensor", Attr::Tensor(Tensor::vector(vec![-7f64]))),
            ],
        );
        assert_eq!(run(&*op, &[Tensor::vector(vec![6i16, 4])])[0], Tensor::vector(vec![0.25f64, -7.0]));
    }

    #[test]
    fn the_first_version_works_in_both_directions() {
        let op = encoder(
            1,
            &[("classes_strings", strings(&["a", "b"])), ("default_string", Attr::String(b"?".to_vec()))],
        );
        assert_eq!(run(&*op, &[texts(&["b", "z"])])[0], Tensor::vector(vec![1i64, -1]));
        assert_eq!(run(&*op, &[Tensor::vector(vec![0i64, 9])])[0].as_strings().unwrap(), ["a", "?"]);
        let mapper = [("cats_strings", strings(&["a"])), ("cats_int64s", Attr::Ints(vec![7]))];
        let mapper = parse_in("ai.onnx.ml", 1, "CategoryMapper", &mapper);
        assert_eq!(run(&*mapper, &[texts(&["a", "b"])])[0], Tensor::vector(vec![7i64, -1]));
        assert_eq!(
            run(&*mapper, &[Tensor::vector(vec![7i64, 0])])[0].as_strings().unwrap(),
            ["a", "_Unused"]
        );
    }

    #[test]
    fn lists_must_be_there_once_and_fit() {
        let parse = |attrs: &[(&str, Attr)]| {
            let attrs = attrs.iter().map(|(name, attr)| (name.to_string(), attr.clone())).collect();
            LabelEncoder::parse(&mut NodeDef::new("LabelEncoder", 4, attrs)).is_err()
        };
        let (keys, values) =
            (("keys_int64s", Attr::Ints(vec![1, 2])), ("values_floats", Attr::Floats(vec![1.0])));
        assert!(parse(std::slice::from_ref(&keys)));
        assert!(parse(&[keys.clone(), values.clone()]));
        assert!(parse(&[keys, ("keys_floats", Attr::Floats(vec![1.0])), values]));
    }
}
