//! `RegexFullMatch` (<https://onnx.ai/onnx/operators/onnx__RegexFullMatch.html>), one version only, opset 20.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::re2::Pattern;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("RegexFullMatch", 1, RegexFullMatch::parse)];

/// Whether each string matches a regular expression (RE2's syntax) as a whole. Input: strings of any shape; output:
/// `bool` of the same shape.
#[derive(Debug, Clone, PartialEq)]
pub struct RegexFullMatch {
    pattern: Pattern,
}

impl RegexFullMatch {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let text = def.string_or("pattern", "")?;
        let pattern = Pattern::new(&text).map_err(|why| {
            OpError::attribute("pattern", "a regular expression", format!("{text:?}: {why}"))
        })?;
        Ok(Arc::new(RegexFullMatch { pattern }))
    }
}

/// That input `index` holds strings.
///
/// # Errors
/// It does not.
pub(crate) fn check_strings(inputs: Facts<'_>, index: usize) -> Result<(), OpError> {
    match inputs.dtype(index)? {
        DType::String => Ok(()),
        other => Err(OpError::dtype(index, "string", other)),
    }
}

impl Operator for RegexFullMatch {
    fn key(&self) -> OpKey {
        OpKey::onnx("RegexFullMatch")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        check_strings(inputs, 0)?;
        Ok(vec![Fact::tensor(DType::Bool, inputs.shape(0)?.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let matches = x.as_strings()?.iter().map(|text| self.pattern.matches_whole(text)).collect();
        Ok(vec![Tensor::from_vec(x.shape().clone(), matches)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};
    use inferrum_graph::Attr;

    #[test]
    fn the_whole_string_must_match() {
        let op = parse_at(20, "RegexFullMatch", &[("pattern", Attr::String(b"a|ab".to_vec()))]);
        let x = Tensor::from_strings([3, 1], ["ab", "abc", ""].map(String::from).to_vec()).unwrap();
        let y = run(&*op, &[x]).remove(0);
        assert_eq!(y, Tensor::from_vec([3, 1], vec![true, false, false]).unwrap());
    }

    #[test]
    fn a_wrong_pattern_is_an_error() {
        let attrs = [("pattern".to_owned(), Attr::String(b"(".to_vec()))].into();
        assert!(RegexFullMatch::parse(&mut NodeDef::new("RegexFullMatch", 20, attrs)).is_err());
    }
}
