//! Finds an operator by domain and type.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use inferrum_graph::{NodeDef, OpError, OpKey, Operator};

use crate::ROOMS;

/// Reads a node's attributes and makes the operator, in canonical form.
pub type Parse = fn(&mut NodeDef) -> Result<Arc<dyn Operator>, OpError>;

/// A row of a room: an operator that exists.
#[derive(Clone, Copy, Debug)]
pub struct OpEntry {
    /// Domain and type.
    pub key: OpKey,
    /// Makes the operator.
    pub parse: Parse,
    /// How many inputs it takes at most, as its newest schema says.
    most_inputs: usize,
    /// Opsets in rising order, each with what `most_inputs` was before it.
    earlier: &'static [(i64, usize)],
}

impl OpEntry {
    /// The greatest number of inputs of an operator that takes any number.
    pub const VARIADIC: usize = usize::MAX;

    /// A row of ONNX's own domain.
    pub const fn onnx(op_type: &'static str, most_inputs: usize, parse: Parse) -> OpEntry {
        OpEntry { key: OpKey::onnx(op_type), parse, most_inputs, earlier: &[] }
    }

    /// A row of `ai.onnx.ml`.
    pub const fn ml(op_type: &'static str, most_inputs: usize, parse: Parse) -> OpEntry {
        OpEntry { key: OpKey::ml(op_type), parse, most_inputs, earlier: &[] }
    }

    /// A row of `ai.onnx.preview`.
    pub const fn preview(op_type: &'static str, most_inputs: usize, parse: Parse) -> OpEntry {
        OpEntry { key: OpKey::preview(op_type), parse, most_inputs, earlier: &[] }
    }

    /// A row of `com.microsoft`.
    pub const fn microsoft(op_type: &'static str, most_inputs: usize, parse: Parse) -> OpEntry {
        OpEntry { key: OpKey::microsoft(op_type), parse, most_inputs, earlier: &[] }
    }

    /// The same row, of an operator that took another number of inputs at most before an opset: pairs of these, in
    /// rising order.
    pub const fn before(self, earlier: &'static [(i64, usize)]) -> OpEntry {
        OpEntry { earlier, ..self }
    }

    /// How many inputs the operator takes at most at an opset. Rewrites add inputs of their own after those of some
    /// operators, so a node must not have any there already.
    pub fn most_inputs(&self, opset: i64) -> usize {
        let earlier = self.earlier.iter().find(|&&(until, _)| opset < until);
        earlier.map_or(self.most_inputs, |&(_, most)| most)
    }
}

static BY_KEY: LazyLock<HashMap<(&str, &str), &OpEntry>> =
    LazyLock::new(|| operators().map(|(_, entry)| ((entry.key.domain, entry.key.op_type), entry)).collect());

/// Every operator with the room it lives in, in the table's order.
pub fn operators() -> impl Iterator<Item = (&'static str, &'static OpEntry)> {
    ROOMS.iter().flat_map(|(room, entries)| entries.iter().map(move |entry| (*room, entry)))
}

/// The operator of a domain (`""` or `ai.onnx` for ONNX's own) and type, if it exists.
pub fn find(domain: &str, op_type: &str) -> Option<&'static OpEntry> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    BY_KEY.get(&(domain, op_type)).copied()
}

/// Makes the operator of a node. `None` when no such operator exists.
///
/// # Errors
/// Attributes that the operator does not know or cannot take, or more inputs than it takes.
pub fn parse(domain: &str, def: &mut NodeDef) -> Option<Result<Arc<dyn Operator>, OpError>> {
    find(domain, &def.op_type).map(|entry| {
        let (most, got) = (entry.most_inputs(def.opset), def.inputs.len());
        if got > most {
            let opset = def.opset;
            return Err(OpError::Invalid(format!(
                "at opset {opset} it takes at most {most} inputs, got {got}"
            )));
        }
        (entry.parse)(def)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_is_listed_twice() {
        assert_eq!(BY_KEY.len(), operators().count());
    }

    #[test]
    fn inputs_that_a_version_does_not_know_are_refused() {
        let parses = |op_type: &str, opset: i64, inputs: usize| {
            let mut def = NodeDef::new(op_type, opset, Default::default());
            def.inputs = vec![true; inputs];
            parse("", &mut def).expect("the operator exists").is_ok()
        };
        assert!(parses("Relu", 14, 1) && !parses("Relu", 14, 2));
        assert!(parses("Max", 13, 300));
        // Only the last schema of `Clip` has the bounds as inputs.
        assert!(parses("Clip", 10, 1) && !parses("Clip", 10, 2));
        assert!(parses("Clip", 11, 3) && !parses("Clip", 11, 4));
        let pad = find("", "Pad").expect("the operator exists");
        assert_eq!([10, 11, 17, 18].map(|opset| pad.most_inputs(opset)), [1, 3, 3, 4]);
    }

    #[test]
    fn both_names_of_the_onnx_domain_work() {
        assert!(find("", "Softmax").is_some());
        assert!(find("ai.onnx", "Softmax").is_some());
        assert!(find("com.microsoft", "Softmax").is_none());
    }
}
