//! What bodies take from the graph around them.

use inferrum_graph::{Fact, Graph, ValueId};
use inferrum_tensor::Tensor;

use crate::proto::GraphProto;
use crate::scope::{Binding, Names, free_names};

/// What a name in a body stands for in the graph around it.
#[derive(Debug, Clone)]
pub(crate) enum Captured {
    /// An input that a function's call leaves out.
    Absent,
    /// A constant, which is copied into the body.
    Constant(Tensor),
    /// One of [`Captures::values`].
    Value(usize),
}

/// What the bodies of one node take from the graph around them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Captures<'p> {
    /// The values: last inputs of the node and of each of its bodies.
    pub(crate) values: Vec<CapturedValue>,
    /// The names that the bodies use.
    pub(crate) names: Vec<(&'p str, Captured)>,
}

/// A value of the graph around a body.
#[derive(Debug, Clone)]
pub(crate) struct CapturedValue {
    pub(crate) id: ValueId,
    pub(crate) name: String,
    pub(crate) fact: Fact,
}

impl<'p> Captures<'p> {
    /// The union over `bodies` of what they take, in order of first use.
    ///
    /// # Errors
    /// The name that nothing defines.
    pub(crate) fn of(
        bodies: &[&'p GraphProto],
        names: &Names<'p>,
        graph: &Graph,
    ) -> Result<Captures<'p>, String> {
        let mut captures = Captures::default();
        for name in bodies.iter().flat_map(|body| free_names(body)) {
            if captures.names.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let captured = match names.get(name).ok_or_else(|| name.to_owned())? {
                Binding::Absent => Captured::Absent,
                Binding::Value(id) => match graph.constant(id) {
                    Some(tensor) => Captured::Constant(tensor.clone()),
                    None => Captured::Value(captures.index_of(id, graph)),
                },
            };
            captures.names.push((name, captured));
        }
        Ok(captures)
    }

    fn index_of(&mut self, id: ValueId, graph: &Graph) -> usize {
        if let Some(index) = self.values.iter().position(|value| value.id == id) {
            return index;
        }
        // Before inference only inputs have facts, and those are certain.
        let value = graph.value(id);
        self.values.push(CapturedValue { id, name: value.name.clone(), fact: value.fact.clone() });
        self.values.len().saturating_sub(1)
    }

    /// The same values, but only the names that `body` uses.
    pub(crate) fn for_body(&self, body: &'p GraphProto) -> Captures<'p> {
        let free = free_names(body);
        let names = self.names.iter().filter(|(name, _)| free.contains(name)).cloned().collect();
        Captures { values: self.values.clone(), names }
    }
}
