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
    /// How many inputs it takes at most, where that is checked: rewrites add inputs of their own after those of some
    /// operators, so that a node must not have any there already.
    pub most_inputs: usize,
}

impl OpEntry {
    /// A row of ONNX's own domain.
    pub const fn onnx(op_type: &'static str, parse: Parse) -> OpEntry {
        OpEntry { key: OpKey::onnx(op_type), parse, most_inputs: usize::MAX }
    }

    /// A row of `ai.onnx.ml`.
    pub const fn ml(op_type: &'static str, parse: Parse) -> OpEntry {
        OpEntry { key: OpKey::ml(op_type), parse, most_inputs: usize::MAX }
    }

    /// A row of `ai.onnx.preview`.
    pub const fn preview(op_type: &'static str, parse: Parse) -> OpEntry {
        OpEntry { key: OpKey::preview(op_type), parse, most_inputs: usize::MAX }
    }

    /// A row of `com.microsoft`.
    pub const fn microsoft(op_type: &'static str, parse: Parse) -> OpEntry {
        OpEntry { key: OpKey::microsoft(op_type), parse, most_inputs: usize::MAX }
    }

    /// The same row, of an operator that takes so many inputs.
    pub const fn at_most(self, most_inputs: usize) -> OpEntry {
        OpEntry { most_inputs, ..self }
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
        let (most, got) = (entry.most_inputs, def.inputs.len());
        if got > most {
            return Err(OpError::Invalid(format!("it takes at most {most} inputs, got {got}")));
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
    fn both_names_of_the_onnx_domain_work() {
        assert!(find("", "Softmax").is_some());
        assert!(find("ai.onnx", "Softmax").is_some());
        assert!(find("com.microsoft", "Softmax").is_none());
    }
}
