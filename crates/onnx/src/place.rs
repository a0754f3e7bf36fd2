//! A node with the names around it: its inputs, outputs and attributes resolved, and its place for messages.

use std::collections::BTreeMap;
use std::rc::Rc;

use inferrum_graph::ValueId;

use crate::error::LoadErrorKind;
use crate::proto::{AttributeProto, FunctionProto, NodeProto};
use crate::scope::{Context, FunctionId, Opsets, domain};
use crate::section::Section;

/// Deepest nesting of bodies and functions. The protobuf decoder itself stops at about 30 bodies.
pub(crate) const MAX_DEPTH: usize = 64;

/// A node with the names around it.
pub(crate) struct Place<'s, 'p> {
    pub(crate) proto: &'p NodeProto,
    pub(crate) section: &'s Section<'p>,
}

impl<'p> Place<'_, 'p> {
    /// The node's name, or one made of its operator and first output.
    pub(crate) fn name(&self) -> String {
        let prefix = &self.section.prefix;
        match self.proto.name() {
            "" => {
                let output = self.proto.output.iter().find(|name| !name.is_empty());
                format!("{prefix}{}:{}", self.proto.op_type(), output.map_or("", String::as_str))
            }
            name => format!("{prefix}{name}"),
        }
    }

    pub(crate) fn op(&self) -> String {
        match domain(self.proto.domain()) {
            "" => self.proto.op_type().to_owned(),
            domain => format!("{domain}.{}", self.proto.op_type()),
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("node `{}` ({})", self.name(), self.op())
    }

    pub(crate) fn error(&self, reason: String) -> LoadErrorKind {
        LoadErrorKind::Node { node: self.name(), op: self.op(), reason }
    }

    pub(crate) fn inputs(&self) -> Result<Vec<Option<ValueId>>, LoadErrorKind> {
        self.proto.input.iter().map(|name| self.section.resolve(name, || self.describe())).collect()
    }

    /// The outputs, without those left out at the end.
    pub(crate) fn outputs(&self) -> Result<Vec<Option<ValueId>>, LoadErrorKind> {
        let names = self.proto.output.iter();
        let mut outputs: Vec<Option<ValueId>> =
            names.map(|name| self.section.resolve(name, || self.describe())).collect::<Result<_, _>>()?;
        while outputs.last() == Some(&None) {
            outputs.pop();
        }
        if outputs.is_empty() {
            return Err(self.error("a node must have an output".into()));
        }
        Ok(outputs)
    }

    /// The attributes by name, with references to a function's attributes resolved.
    pub(crate) fn attributes(&self) -> Result<BTreeMap<&'p str, &'p AttributeProto>, LoadErrorKind> {
        let mut attributes = BTreeMap::new();
        for attr in &self.proto.attribute {
            let Some(value) = self.section.context.resolve(attr) else { continue };
            if attributes.insert(attr.name(), value).is_some() {
                return Err(self.error(format!("attribute `{}` is given twice", attr.name())));
            }
        }
        Ok(attributes)
    }

    /// The nesting depth of this node's bodies or function.
    pub(crate) fn deeper(&self) -> Result<usize, LoadErrorKind> {
        let depth = self.section.context.depth.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(LoadErrorKind::TooDeep { limit: MAX_DEPTH, node: self.name() });
        }
        Ok(depth)
    }

    /// What the nodes of the called function see.
    pub(crate) fn callee(
        &self,
        function: &'p FunctionProto,
        id: FunctionId<'p>,
    ) -> Result<Context<'p>, LoadErrorKind> {
        let given = self.attributes()?;
        let declared = |name: &str| {
            function.attribute.iter().any(|formal| formal == name)
                || function.attribute_proto.iter().any(|formal| formal.name() == name)
        };
        if let Some(name) = given.keys().find(|name| !declared(name)) {
            return Err(self.error(format!("the function has no attribute `{name}`")));
        }
        let defaults = function.attribute_proto.iter().map(|attr| (attr.name(), attr));
        let mut calls = self.section.context.calls.clone();
        calls.push(id);
        Ok(Context {
            opsets: Rc::new(Opsets::new(&function.opset_import)),
            arguments: Rc::new(defaults.chain(given).collect()),
            calls,
            depth: self.deeper()?,
        })
    }
}
