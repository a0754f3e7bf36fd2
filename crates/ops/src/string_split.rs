//! `StringSplit` (<https://onnx.ai/onnx/operators/onnx__StringSplit.html>), one version only, opset 20. Splits as
//! Python's `str.split`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, TensorError, Value};

use crate::OpEntry;
use crate::regex_full_match::check_strings;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("StringSplit", 1, StringSplit::parse)];

/// Splits strings into parts. Input: strings of any shape. Outputs: the parts, `[.., most parts]`, filled up with empty
/// strings; how many parts each string has, int64 of the input's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct StringSplit {
    /// Between what the parts stand; empty: any run of white space.
    pub delimiter: String,
    /// How many splits are made at most.
    pub most: Option<usize>,
}

impl StringSplit {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let delimiter = def.string_or("delimiter", "")?;
        let most = def.int("maxsplit")?.and_then(|most| usize::try_from(most).ok());
        Ok(Arc::new(StringSplit { delimiter, most }))
    }

    fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let most = self.most.unwrap_or(usize::MAX);
        if !self.delimiter.is_empty() {
            return text.splitn(most.saturating_add(1), &self.delimiter).collect();
        }
        let mut parts = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let end = if parts.len() == most { None } else { rest.find(char::is_whitespace) };
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            parts.push(part);
            rest = after.trim_start();
        }
        parts
    }
}

impl Operator for StringSplit {
    fn key(&self) -> OpKey {
        OpKey::onnx("StringSplit")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        check_strings(inputs, 0)?;
        let shape = inputs.shape(0)?;
        let parts = match shape.dims() {
            None => ShapeFact::unknown(),
            Some(dims) => dims.iter().cloned().chain([SymDim::Unknown]).collect(),
        };
        Ok(vec![Fact::tensor(DType::String, parts), Fact::tensor(DType::I64, shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let rows: Vec<Vec<&str>> = x.as_strings()?.iter().map(|text| self.split(text)).collect();
        let most = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut parts: Vec<String> = Vec::new();
        let count = rows.len().saturating_mul(most);
        parts
            .try_reserve_exact(count)
            .map_err(|_| TensorError::OutOfMemory { bytes: count.saturating_mul(size_of::<String>()) })?;
        for row in &rows {
            parts.extend(row.iter().map(|part| part.to_string()));
            parts.extend(std::iter::repeat_n(String::new(), most - row.len()));
        }
        let shape: Vec<usize> = x.shape().iter().copied().chain([most]).collect();
        let counts: Vec<i64> = rows.iter().map(|row| row.len() as i64).collect();
        Ok(vec![
            Tensor::from_strings(shape, parts)?.into(),
            Tensor::from_vec(x.shape().clone(), counts)?.into(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    fn split(delimiter: &str, most: Option<usize>, texts: &[&str]) -> (Vec<String>, Vec<i64>) {
        let op = StringSplit { delimiter: delimiter.into(), most };
        let x = Tensor::from_strings([texts.len()], texts.iter().map(|s| s.to_string()).collect()).unwrap();
        let outputs = run(&op, &[x]);
        (outputs[0].as_strings().unwrap().to_vec(), outputs[1].as_slice().unwrap().to_vec())
    }

    #[test]
    fn white_space_is_one_separator_and_delimiters_are_many() {
        let (parts, counts) = split("", None, &[" a\tb\u{2003}c ", "d", ""]);
        assert_eq!((parts.join("|").as_str(), counts), ("a|b|c|d|||||", vec![3, 1, 0]));
        let (parts, counts) = split("ab", None, &["abcab", ""]);
        assert_eq!((parts.join("|").as_str(), counts), ("|c||||", vec![3, 1]));
    }

    #[test]
    fn the_last_part_keeps_what_is_not_split() {
        assert_eq!(split("", Some(1), &[" a b  c "]).0, ["a", "b  c "]);
        assert_eq!(split("", Some(0), &[" a b "]).0, ["a b "]);
        assert_eq!(split(" ", Some(1), &["a b c"]).0, ["a", "b c"]);
    }

    #[test]
    fn no_strings_have_no_parts() {
        let op = StringSplit { delimiter: String::new(), most: None };
        let outputs = run(&op, &[Tensor::zeros(DType::String, [0, 2]).unwrap()]);
        assert_eq!(
            (outputs[0].shape().dims(), outputs[1].shape().dims()),
            ([0, 2, 0].as_slice(), [0, 2].as_slice())
        );
    }
}
