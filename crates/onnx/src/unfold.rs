//! Calls of functions: a function's nodes take the place of its call.

use std::collections::{BTreeMap, HashMap};

use inferrum_graph::{Node, NodeDef, ValueId};
use prost::Message;

use crate::build::Builder;
use crate::error::LoadErrorKind;
use crate::place::Place;
use crate::proto::{FunctionProto, NodeProto};
use crate::scope::{Binding, Names, function_id};
use crate::section::Section;

/// Most bytes of nodes that calls of functions may unfold to, beyond those of the file: a short file can ask for
/// exponentially many.
pub(crate) const MAX_UNFOLDED_BYTES: usize = 1 << 27;

/// Bytes that a node takes besides its names and attributes, about.
const NODE_BYTES: usize = 256;

impl<'p> Builder<'_, 'p> {
    /// Puts a function's nodes in the place of its call.
    pub(crate) fn unfold(
        &mut self,
        call: &'p NodeProto,
        function: &'p FunctionProto,
        section: &Section<'p>,
    ) -> Result<(), LoadErrorKind> {
        let place = Place { proto: call, section };
        let id = function_id(call);
        if section.context.calls.contains(&id) {
            return Err(LoadErrorKind::RecursiveFunction(place.op()));
        }
        let name = place.name();
        self.importer.room =
            self.importer.room.checked_sub(unfolded_bytes(function, &name)).ok_or_else(|| {
                LoadErrorKind::TooManyNodes { limit: self.importer.limit, node: shortened(&name) }
            })?;
        let (inputs, outputs) = (place.inputs()?, place.outputs()?);
        if inputs.len() > function.input.len() || outputs.len() > function.output.len() {
            return Err(place.error(format!(
                "the function takes {} inputs and gives {} outputs, got {} and {}",
                function.input.len(),
                function.output.len(),
                inputs.len(),
                outputs.len()
            )));
        }
        let mut callee = Section {
            names: Names::default(),
            context: place.callee(function, id)?,
            prefix: format!("{name}/"),
        };
        for (i, formal) in function.input.iter().enumerate() {
            let actual = inputs.get(i).copied().flatten();
            let binding = actual.map_or(Binding::Absent, Binding::Value);
            callee.bind(formal, binding, function.name(), || "an input".into())?;
        }
        // An output that a node gives is the call's value itself; one that is an input, or stands twice, is copied.
        let mut given = HashMap::new();
        let mut copies = Vec::new();
        for (formal, actual) in function.output.iter().zip(&outputs) {
            let Some(actual) = *actual else { continue };
            if callee.names.get(formal).is_some() || given.contains_key(formal.as_str()) {
                copies.push((formal, actual));
            } else {
                given.insert(formal.as_str(), actual);
            }
        }
        self.declare_outputs(&function.node, &given, function.name(), &mut callee)?;
        if let Some(formal) = given.keys().find(|formal| callee.names.get(formal).is_none()) {
            let user = format!("output of function `{}`", function.name());
            return Err(LoadErrorKind::Undefined { name: (*formal).into(), user });
        }
        for node in &function.node {
            self.add(node, &callee)?;
        }
        for (formal, actual) in copies {
            self.copy(formal, actual, &callee, &place)?;
        }
        Ok(())
    }

    fn copy(
        &mut self,
        formal: &'p str,
        to: ValueId,
        callee: &Section<'p>,
        place: &Place<'_, 'p>,
    ) -> Result<(), LoadErrorKind> {
        let from = callee.resolve(formal, || place.describe())?.ok_or_else(|| {
            place.error(format!("the function gives back its input `{formal}`, which the call leaves out"))
        })?;
        let mut def = NodeDef::new("Identity", callee.context.opsets.version(""), BTreeMap::new());
        def.inputs = vec![true];
        let op = inferrum_ops::parse("", &mut def)
            .ok_or_else(|| place.error("the operator Identity does not exist".into()))?
            .map_err(|error| place.error(error.to_string()))?;
        let name = format!("{}{formal}", callee.prefix);
        self.graph.nodes_mut().push(Node { name, op, inputs: vec![Some(from)], outputs: vec![Some(to)] });
        Ok(())
    }
}

/// Bytes that the nodes of a function take once its call `name` is unfolded, about.
fn unfolded_bytes(function: &FunctionProto, name: &str) -> usize {
    let node = |node: &NodeProto| {
        let values = node.output.len().saturating_add(1);
        let names = values.saturating_mul(name.len().saturating_add(NODE_BYTES));
        // Attributes are made anew; bodies with all that they hold.
        names.saturating_add(node.encoded_len())
    };
    function.node.iter().map(node).fold(NODE_BYTES, usize::saturating_add)
}

/// The end of a name that may be long.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 200;
    let start = name.len().saturating_sub(LONGEST);
    match (start..name.len()).find_map(|start| name.get(start..)) {
        Some(end) if start > 0 => format!("...{end}"),
        _ => name.to_owned(),
    }
}
