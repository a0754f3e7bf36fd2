//! Names while a graph is built: values, attributes of a function's call, operator sets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use inferrum_graph::ValueId;

use crate::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto};

/// ONNX's own domain has two names; this is the empty one.
pub(crate) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// The operator sets that a model or function imports.
#[derive(Debug, Default, Clone)]
pub(crate) struct Opsets(BTreeMap<String, i64>);

impl Opsets {
    pub(crate) fn new(imports: &[OperatorSetIdProto]) -> Opsets {
        Opsets(imports.iter().map(|o| (domain(o.domain()).to_owned(), o.version())).collect())
    }

    /// Whether a domain is imported.
    pub(crate) fn has(&self, domain: &str) -> bool {
        self.0.contains_key(domain)
    }

    /// The version of a domain; 1 where it is not imported, as in files that are older than imports.
    pub(crate) fn version(&self, domain: &str) -> i64 {
        self.0.get(domain).copied().unwrap_or(1)
    }

    /// Domains (ONNX's own as `ai.onnx`) and versions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(domain, version)| (shown(domain), *version))
    }
}

/// A domain for messages.
pub(crate) fn shown(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

/// A function's domain, name and overload.
pub(crate) type FunctionId<'p> = (&'p str, &'p str, &'p str);

/// The function that a node may call.
pub(crate) fn function_id(node: &NodeProto) -> FunctionId<'_> {
    (domain(node.domain()), node.op_type(), node.overload())
}

/// A function's domain and name for messages.
pub(crate) fn function_name(function: &FunctionProto) -> String {
    match domain(function.domain()) {
        "" => function.name().to_owned(),
        domain => format!("{domain}.{}", function.name()),
    }
}

/// What the nodes of one graph or of one function's call see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context<'p> {
    /// The operator sets.
    pub(crate) opsets: Rc<Opsets>,
    /// The attributes of the call, within a function.
    pub(crate) arguments: Rc<HashMap<&'p str, &'p AttributeProto>>,
    /// The functions whose calls are being unfolded.
    pub(crate) calls: Vec<FunctionId<'p>>,
    /// How many bodies and functions lie around.
    pub(crate) depth: usize,
}

impl<'p> Context<'p> {
    /// An attribute with a reference to the call's attributes resolved; `None` when it refers to one that is not given.
    pub(crate) fn resolve(&self, attr: &'p AttributeProto) -> Option<&'p AttributeProto> {
        match attr.ref_attr_name() {
            "" => Some(attr),
            name => self.arguments.get(name).copied(),
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Binding {
    /// A value of the graph.
    Value(ValueId),
    /// A function's input that the call leaves out.
    Absent,
}

/// The names of one graph or one function's call.
#[derive(Debug, Default)]
pub(crate) struct Names<'p> {
    bindings: HashMap<&'p str, Binding>,
}

impl<'p> Names<'p> {
    /// Gives a name its meaning; false if it has one.
    pub(crate) fn bind(&mut self, name: &'p str, binding: Binding) -> bool {
        self.bindings.insert(name, binding).is_none()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Binding> {
        self.bindings.get(name).copied()
    }
}

/// The names that a body uses and does not define, in order of their first use.
pub(crate) fn free_names(body: &GraphProto) -> Vec<&str> {
    let mut defined: HashSet<&str> = HashSet::new();
    defined.extend(body.input.iter().map(|input| input.name()));
    defined.extend(body.initializer.iter().map(|tensor| tensor.name()));
    defined
        .extend(body.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref().map(|v| v.name())));
    defined.extend(body.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    defined.insert("");
    let mut free = Vec::new();
    let mut uses = |name| {
        if defined.insert(name) {
            free.push(name);
        }
    };
    for node in &body.node {
        node.input.iter().for_each(|name| uses(name));
        for inner in node.attribute.iter().flat_map(|attr| attr.g.iter().chain(&attr.graphs)) {
            free_names(inner).into_iter().for_each(&mut uses);
        }
    }
    body.output.iter().for_each(|output| uses(output.name()));
    free
}
