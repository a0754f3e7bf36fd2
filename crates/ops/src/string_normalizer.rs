//! `StringNormalizer` (<https://onnx.ai/onnx/operators/onnx__StringNormalizer.html>), one version only, opset 10.
//!
//! As in ONNX Runtime a stop word is a whole element, and case changes character by character.

use std::collections::HashSet;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::regex_full_match::check_strings;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("StringNormalizer", 1, StringNormalizer::parse)];

/// Drops stop words and changes the case. Input: strings `[C]` or `[1, C]`; output: what remains, of the same rank,
/// or one empty string if nothing does.
#[derive(Debug, Clone, PartialEq)]
pub struct StringNormalizer {
    /// To which case strings are changed, if any.
    pub case: Option<Case>,
    /// Whether stop words and strings are compared as they are, not in one case.
    pub case_sensitive: bool,
    /// The words that are dropped.
    pub stop_words: Vec<String>,
}

/// Upper or lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Small letters.
    Lower,
    /// Capital letters.
    Upper,
}

impl Case {
    fn of(self, text: &str) -> String {
        text.chars().map(|c| self.of_char(c)).collect()
    }

    /// The character that C's `towlower` or `towupper` gives: always one, so that `ß` has no capital form.
    fn of_char(self, c: char) -> char {
        match self {
            Case::Lower => c.to_lowercase().next().unwrap_or(c),
            Case::Upper => {
                let mut upper = c.to_uppercase();
                match (upper.next(), upper.next()) {
                    (Some(one), None) => one,
                    _ => c,
                }
            }
        }
    }
}

impl StringNormalizer {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let case = match def.string_or("case_change_action", "NONE")?.as_str() {
            "NONE" => None,
            "LOWER" => Some(Case::Lower),
            "UPPER" => Some(Case::Upper),
            other => return Err(OpError::attribute("case_change_action", "NONE, LOWER or UPPER", other)),
        };
        let locale = def.string_or("locale", "en_US")?;
        if case.is_some() && ["tr", "az", "lt"].iter().any(|language| locale.starts_with(language)) {
            return Err(OpError::Unsupported(format!("the rules of case of locale {locale}; use en_US")));
        }
        Ok(Arc::new(StringNormalizer {
            case,
            case_sensitive: def.flag("is_case_sensitive", false)?,
            stop_words: def.strings("stopwords")?.unwrap_or_default(),
        }))
    }

    /// The form in which stop words are compared.
    fn compared(&self, text: &str) -> String {
        if self.case_sensitive { text.to_owned() } else { self.case.unwrap_or(Case::Lower).of(text) }
    }
}

impl Operator for StringNormalizer {
    fn key(&self) -> OpKey {
        OpKey::onnx("StringNormalizer")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        check_strings(inputs, 0)?;
        let shape = inputs.shape(0)?;
        let unchanged = |dim: &SymDim| self.stop_words.is_empty() && dim.known().is_some_and(|n| n > 0);
        let rest = |dim: &SymDim| if unchanged(dim) { dim.clone() } else { SymDim::Unknown };
        let shape = match shape.dims() {
            None => ShapeFact::unknown(),
            Some([count]) => vec![rest(count)].into(),
            Some([one, count]) if one.known().is_none_or(|n| n == 1) => {
                vec![SymDim::Known(1), rest(count)].into()
            }
            Some(_) => return Err(OpError::shape(0, "[C] or [1, C]", shape)),
        };
        Ok(vec![Fact::tensor(DType::String, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let stop_words: HashSet<String> = self.stop_words.iter().map(|word| self.compared(word)).collect();
        let mut strings: Vec<String> = x
            .as_strings()?
            .iter()
            .filter(|text| stop_words.is_empty() || !stop_words.contains(&self.compared(text)))
            .map(|text| self.case.map_or_else(|| text.clone(), |case| case.of(text)))
            .collect();
        if strings.is_empty() {
            strings.push(String::new());
        }
        let mut shape = x.shape().clone();
        if let Some(count) = shape.dims_mut().last_mut() {
            *count = strings.len();
        }
        Ok(vec![Tensor::from_strings(shape, strings)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::try_run;

    fn run(op: &StringNormalizer, shape: &[usize], texts: &[&str]) -> Result<Tensor, OpError> {
        let x = Tensor::from_strings(shape, texts.iter().map(|s| s.to_string()).collect())?;
        try_run(op, &[Some(x)]).map(|mut outputs| outputs.remove(0))
    }

    fn normalizer(case: Option<Case>, case_sensitive: bool, stop_words: &[&str]) -> StringNormalizer {
        let stop_words = stop_words.iter().map(|s| s.to_string()).collect();
        StringNormalizer { case, case_sensitive, stop_words }
    }

    #[test]
    fn stop_words_are_compared_in_one_case_unless_told_otherwise() {
        let texts = ["The", "straße", "THE", "İx"];
        let kept = |op| run(&op, &[4], &texts).unwrap().as_strings().unwrap().to_vec();
        assert_eq!(kept(normalizer(None, false, &["tHe"])), ["straße", "İx"]);
        assert_eq!(kept(normalizer(None, true, &["THE"])), ["The", "straße", "İx"]);
        assert_eq!(kept(normalizer(Some(Case::Upper), false, &["the"])), ["STRAßE", "İX"]);
        assert_eq!(kept(normalizer(Some(Case::Lower), true, &["the"])), ["the", "straße", "the", "ix"]);
    }

    #[test]
    fn shapes_keep_their_rank_and_are_never_empty() {
        let op = normalizer(None, true, &["a"]);
        assert_eq!(run(&op, &[1, 2], &["a", "b"]).unwrap().shape().dims(), [1, 1]);
        assert_eq!(run(&op, &[1, 1], &["a"]).unwrap().as_strings().unwrap(), [""]);
        assert_eq!(run(&op, &[0], &[]).unwrap().shape().dims(), [1]);
        assert_eq!(run(&normalizer(None, true, &[]), &[2], &["a", ""]).unwrap().shape().dims(), [2]);
        assert!(run(&op, &[2, 1], &["a", "b"]).is_err());
        assert!(run(&op, &[], &["a"]).is_err());
    }
}
