//! `com.microsoft.Tokenizer`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Tokenizer>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, TensorError, Value};

use crate::OpEntry;
use crate::re2::Pattern;
use crate::regex_full_match::check_strings;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::microsoft("Tokenizer", 1, Tokenizer::parse)];

/// Cuts texts into tokens. Input: strings `[C]` or `[N, C]`; output: `[.., most tokens]`, filled up with `padding`. If
/// no text has a token the last extent is 0, without marks.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokenizer {
    rule: Rule,
    /// Whether texts begin with the token `\x02` and end with `\x03`.
    pub mark: bool,
    /// What shorter lists are filled up with.
    pub padding: String,
    /// The least number of characters of a token; shorter ones are dropped.
    pub least: usize,
}

/// How texts are cut.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// Into characters.
    Characters,
    /// At what matches the first expression, then each piece at what matches the next.
    Separators(Vec<Pattern>),
    /// Tokens are what matches.
    Tokens(Pattern),
}

impl Tokenizer {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let pattern = |name: &str, text: &str| {
            Pattern::new(text)
                .map_err(|why| OpError::attribute(name, "regular expressions", format!("{text:?}: {why}")))
        };
        let rule = match (def.strings("separators")?, def.string("tokenexp")?) {
            (Some(separators), _) if separators == [""] => Rule::Characters,
            (Some(separators), _) if !separators.is_empty() => Rule::Separators(
                separators.iter().map(|text| pattern("separators", text)).collect::<Result<_, _>>()?,
            ),
            (None, Some(text)) if text == "." => Rule::Characters,
            (None, Some(text)) if !text.is_empty() => Rule::Tokens(pattern("tokenexp", &text)?),
            _ => return Err(OpError::attribute("separators", "either this or `tokenexp`", "nothing")),
        };
        let least = def.int_or("mincharnum", 1)?;
        let least = usize::try_from(least)
            .ok()
            .filter(|&least| least == 1 || (least > 1 && rule != Rule::Characters))
            .ok_or_else(|| OpError::attribute("mincharnum", "1 or more, and 1 for characters", least))?;
        let mark = def.int_or("mark", 0)? != 0;
        Ok(Arc::new(Tokenizer { rule, mark, padding: def.string_or("pad_value", "")?, least }))
    }

    fn tokens<'t>(&self, text: &'t str) -> Vec<&'t str> {
        match &self.rule {
            Rule::Characters => text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect(),
            Rule::Separators(separators) => separators.iter().fold(vec![text], |pieces, separator| {
                pieces.into_iter().flat_map(|piece| self.between(separator, piece)).collect()
            }),
            Rule::Tokens(pattern) => self.matching(pattern, text),
        }
    }

    fn long_enough(&self, token: &str) -> bool {
        token.len() >= self.least && token.chars().nth(self.least - 1).is_some()
    }

    /// The parts of a text between the matches of a separator.
    fn between<'t>(&self, separator: &Pattern, text: &'t str) -> Vec<&'t str> {
        let mut parts = Vec::new();
        let mut start = 0;
        while let Some(found) = separator.find(text, start) {
            parts.push(&text[start..found.start]);
            // An empty match separates at the next character, which is lost.
            start = if found.is_empty() { after_character(text, found.end) } else { found.end };
            if start >= text.len() {
                break;
            }
        }
        parts.push(text.get(start..).unwrap_or(""));
        parts.retain(|part| self.long_enough(part));
        parts
    }

    /// The matches in a text; the search goes on after a match, or after the first character of one too short.
    fn matching<'t>(&self, pattern: &Pattern, text: &'t str) -> Vec<&'t str> {
        let mut tokens = Vec::new();
        let mut start = 0;
        while start < text.len()
            && let Some(found) = pattern.find(text, start)
        {
            let token = &text[found.clone()];
            if self.long_enough(token) {
                tokens.push(token);
                start = found.end;
            } else {
                start = after_character(text, found.start);
            }
        }
        tokens
    }
}

/// The place after the character at `at`; beyond the text at its end.
fn after_character(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(1, char::len_utf8)
}

impl Operator for Tokenizer {
    fn key(&self) -> OpKey {
        OpKey::microsoft("Tokenizer")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        check_strings(inputs, 0)?;
        let shape = inputs.shape(0)?;
        let shape = match shape.dims() {
            None => ShapeFact::unknown(),
            Some(dims @ ([_] | [_, _])) => dims.iter().cloned().chain([SymDim::Unknown]).collect(),
            Some(_) => return Err(OpError::shape(0, "[C] or [N, C]", shape)),
        };
        Ok(vec![Fact::tensor(DType::String, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let rows: Vec<Vec<&str>> = x.as_strings()?.iter().map(|text| self.tokens(text)).collect();
        let most = match rows.iter().map(Vec::len).max().unwrap_or(0) {
            0 => 0,
            most => most + if self.mark { 2 } else { 0 },
        };
        let mut tokens: Vec<String> = Vec::new();
        let count = rows.len().saturating_mul(most);
        tokens
            .try_reserve_exact(count)
            .map_err(|_| TensorError::OutOfMemory { bytes: count.saturating_mul(size_of::<String>()) })?;
        for row in rows.iter().take(if most > 0 { usize::MAX } else { 0 }) {
            let end = tokens.len() + most;
            tokens.extend(self.mark.then(|| "\u{2}".to_owned()));
            tokens.extend(row.iter().map(|token| token.to_string()));
            tokens.extend(self.mark.then(|| "\u{3}".to_owned()));
            tokens.resize(end, self.padding.clone());
        }
        let shape: Vec<usize> = x.shape().iter().copied().chain([most]).collect();
        Ok(vec![Tensor::from_strings(shape, tokens)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, try_run};
    use inferrum_graph::Attr;

    fn tokenizer(mark: i64, least: i64, rule: (&'static str, &[&str])) -> Arc<dyn Operator> {
        let text = |text: &str| text.as_bytes().to_vec();
        let rule_attr = match rule.0 {
            "tokenexp" => Attr::String(text(rule.1[0])),
            _ => Attr::Strings(rule.1.iter().map(|s| text(s)).collect()),
        };
        let attrs = [
            ("mark", Attr::Int(mark)),
            ("mincharnum", Attr::Int(least)),
            ("pad_value", Attr::String(text("#"))),
            (rule.0, rule_attr),
        ];
        parse_in("com.microsoft", 1, "Tokenizer", &attrs)
    }

    fn run(op: &dyn Operator, texts: &[&str]) -> String {
        let x = Tensor::from_strings([texts.len()], texts.iter().map(|s| s.to_string()).collect()).unwrap();
        let y = try_run(op, &[Some(x)]).unwrap().remove(0);
        assert_eq!(y.shape().rank(), 2);
        y.as_strings().unwrap().join("|").replace('\u{2}', "<").replace('\u{3}', ">")
    }

    #[test]
    fn results_are_those_of_onnx_runtime() {
        let texts = ["hello world", "a bb  ccc"];
        assert_eq!(run(&*tokenizer(0, 1, ("separators", &[" "])), &texts), "hello|world|#|a|bb|ccc");
        assert_eq!(run(&*tokenizer(1, 2, ("separators", &[" ", "b"])), &texts), "<|hello|world|>|<|ccc|>|#");
        assert_eq!(run(&*tokenizer(0, 3, ("separators", &["[ ,]+"])), &["x, yy, zz   abcd"]), "abcd");
        assert_eq!(run(&*tokenizer(0, 1, ("separators", &["o", "ow"])), &["hello world"]), "hell| w|rld");
        assert_eq!(run(&*tokenizer(1, 2, ("tokenexp", &["[a-z]+"])), &texts), "<|hello|world|>|<|bb|ccc|>");
        assert_eq!(run(&*tokenizer(0, 1, ("tokenexp", &["[a-z]*"])), &["aé日本 x", ""]), "a|x|#|#");
        assert_eq!(run(&*tokenizer(1, 1, ("separators", &[""])), &["aé日", ""]), "<|a|é|日|>|<|>|#|#|#");
        assert_eq!(run(&*tokenizer(0, 1, ("tokenexp", &["."])), &["aé"]), "a|é");
    }

    #[test]
    fn texts_without_tokens_have_no_marks() {
        let op = tokenizer(1, 1, ("separators", &[" *"]));
        for texts in [vec!["   ", ""], vec!["a"], vec![]] {
            assert_eq!(run(&*op, &texts), "");
        }
        let x = Tensor::zeros(DType::String, [2, 3]).unwrap();
        assert_eq!(try_run(&*op, &[Some(x)]).unwrap()[0].shape().dims(), [2, 3, 0]);
        assert!(try_run(&*op, &[Some(Tensor::zeros(DType::String, [1, 1, 1]).unwrap())]).is_err());
    }

    #[test]
    fn a_rule_is_needed() {
        let parse = |attrs: Vec<(&str, Attr)>| {
            let attrs = attrs.into_iter().map(|(name, attr)| (name.to_owned(), attr)).collect();
            Tokenizer::parse(&mut NodeDef::new("Tokenizer", 1, attrs)).is_err()
        };
        let text = |text: &str| Attr::String(text.as_bytes().to_vec());
        assert!(parse(vec![]));
        assert!(parse(vec![("tokenexp", text("("))]));
        assert!(parse(vec![("tokenexp", text(".")), ("mincharnum", Attr::Int(2))]));
        assert!(parse(vec![("tokenexp", text("a")), ("mincharnum", Attr::Int(0))]));
    }
}
