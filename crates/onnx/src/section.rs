//! Nodes that share names: those of a graph, or of one call of a function.

use inferrum_graph::ValueId;

use crate::error::LoadErrorKind;
use crate::scope::{Binding, Context, Names};

/// Nodes that share names: those of a graph, or of one call of a function.
pub(crate) struct Section<'p> {
    pub(crate) names: Names<'p>,
    pub(crate) context: Context<'p>,
    /// Put before made-up and inner names.
    pub(crate) prefix: String,
}

impl<'p> Section<'p> {
    pub(crate) fn bind(
        &mut self,
        name: &'p str,
        binding: Binding,
        owner: &str,
        by: impl Fn() -> String,
    ) -> Result<(), LoadErrorKind> {
        if name.is_empty() {
            return Err(LoadErrorKind::NoName { graph: owner.into(), by: by() });
        }
        if !self.names.bind(name, binding) {
            return Err(LoadErrorKind::DuplicateName { name: name.into(), graph: owner.into(), by: by() });
        }
        Ok(())
    }

    /// The value of a name; `None` for the empty name and for a function's input that its call leaves out.
    pub(crate) fn resolve(
        &self,
        name: &str,
        user: impl Fn() -> String,
    ) -> Result<Option<ValueId>, LoadErrorKind> {
        match self.names.get(name) {
            _ if name.is_empty() => Ok(None),
            Some(Binding::Value(id)) => Ok(Some(id)),
            Some(Binding::Absent) => Ok(None),
            None => Err(LoadErrorKind::Undefined { name: name.into(), user: user() }),
        }
    }
}
