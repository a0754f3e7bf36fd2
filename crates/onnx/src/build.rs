//! `GraphProto` to a graph: names become values, nodes become operators, bodies become graphs with explicit captures.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use inferrum_graph::{Attr, Fact, Graph, Node, NodeDef, NodeError, ValueId};
use inferrum_tensor::Tensor;
use prost::Message;

use crate::attribute;
use crate::capture::{Captured, Captures};
use crate::error::{LoadErrorKind, UnknownOperator};
use crate::external::ExternalFiles;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
use crate::scope::{Binding, Context, FunctionId, Names, domain, function_id, shown};
use crate::{constant, tensor, types};

/// Deepest nesting of bodies and functions. The protobuf decoder itself stops at about 30 bodies.
pub(crate) const MAX_DEPTH: usize = 64;

/// Most bytes of nodes that calls of functions may unfold to, beyond those of the file: a short file can ask for
/// exponentially many.
const MAX_UNFOLDED_BYTES: usize = 1 << 27;

/// Bytes that a node takes besides its names and attributes, about.
const NODE_BYTES: usize = 256;

/// What all graphs of a model share while it is built.
pub(crate) struct Importer<'p> {
    pub(crate) functions: HashMap<FunctionId<'p>, &'p FunctionProto>,
    pub(crate) external: ExternalFiles,
    /// Whether every operator set must be imported: files of the first IR versions have no imports.
    pub(crate) imports: bool,
    /// Bytes of nodes that calls of functions may still unfold to.
    pub(crate) room: usize,
    limit: usize,
}

impl<'p> Importer<'p> {
    /// An importer of a model in a file of `file_bytes`.
    pub(crate) fn new(
        functions: HashMap<FunctionId<'p>, &'p FunctionProto>,
        external: ExternalFiles,
        imports: bool,
        file_bytes: usize,
    ) -> Importer<'p> {
        let limit = MAX_UNFOLDED_BYTES.saturating_add(file_bytes);
        Importer { functions, external, imports, room: limit, limit }
    }
}

/// A graph that is being built.
pub(crate) struct Builder<'i, 'p> {
    importer: &'i mut Importer<'p>,
    pub(crate) graph: Graph,
    /// What the file declares of values that nodes give.
    pub(crate) declared: HashMap<ValueId, Fact>,
    /// Inputs with a default; see [`crate::Model::overridable`].
    pub(crate) overridable: Vec<ValueId>,
}

/// Nodes that share names: those of a graph, or of one call of a function.
struct Section<'p> {
    names: Names<'p>,
    context: Context<'p>,
    /// Put before made-up and inner names.
    prefix: String,
}

impl<'i, 'p> Builder<'i, 'p> {
    /// Builds `proto`. Inputs named in `overridden` stay inputs although the file gives them a default.
    pub(crate) fn build(
        importer: &'i mut Importer<'p>,
        proto: &'p GraphProto,
        context: Context<'p>,
        captures: &Captures<'p>,
        overridden: &[&str],
    ) -> Result<Builder<'i, 'p>, LoadErrorKind> {
        let mut builder = Builder {
            importer,
            graph: Graph::new(proto.name()),
            declared: HashMap::new(),
            overridable: Vec::new(),
        };
        let mut section = Section { names: Names::default(), context, prefix: String::new() };
        builder.add_initializers(proto, &mut section, overridden)?;
        builder.add_inputs(proto, &mut section)?;
        builder.add_captures(captures, &mut section);
        builder.declare_outputs(&proto.node, &HashMap::new(), proto.name(), &mut section)?;
        builder.read_declarations(proto, &section)?;
        for node in &proto.node {
            builder.add(node, &section)?;
        }
        for output in &proto.output {
            let user = || format!("output of graph `{}`", proto.name());
            let id = section
                .resolve(output.name(), user)?
                .ok_or_else(|| LoadErrorKind::Undefined { name: output.name().into(), user: user() })?;
            builder.graph.outputs.push(id);
        }
        builder.graph.sort()?;
        Ok(builder)
    }

    fn add_initializers(
        &mut self,
        proto: &'p GraphProto,
        section: &mut Section<'p>,
        overridden: &[&str],
    ) -> Result<(), LoadErrorKind> {
        let failed =
            |name: &str, source| LoadErrorKind::Tensor { place: format!("initializer `{name}`"), source };
        for stored in &proto.initializer {
            let name = stored.name();
            if overridden.contains(&name) {
                continue;
            }
            let tensor =
                tensor::decode(stored, &mut self.importer.external).map_err(|error| failed(name, error))?;
            self.add_constant(name, tensor, proto, section)?;
        }
        for stored in &proto.sparse_initializer {
            let name = stored.values.as_ref().map_or("", |values| values.name());
            if overridden.contains(&name) {
                continue;
            }
            let tensor = tensor::decode_sparse(stored, &mut self.importer.external)
                .map_err(|error| failed(name, error))?;
            self.add_constant(name, tensor, proto, section)?;
        }
        Ok(())
    }

    fn add_constant(
        &mut self,
        name: &'p str,
        tensor: Tensor,
        proto: &GraphProto,
        section: &mut Section<'p>,
    ) -> Result<(), LoadErrorKind> {
        let id = self.graph.add_constant(name, tensor);
        section.bind(name, Binding::Value(id), proto.name(), || "an initializer".into())
    }

    fn add_inputs(&mut self, proto: &'p GraphProto, section: &mut Section<'p>) -> Result<(), LoadErrorKind> {
        for input in &proto.input {
            let fact = types::of_value("input", input)?;
            if let Some(Binding::Value(id)) = section.names.get(input.name())
                && self.graph.constant(id).is_some()
                && !self.overridable.contains(&id)
            {
                check_default(input.name(), &fact, self.graph.fact(id))?;
                self.overridable.push(id);
                continue;
            }
            let id = self.graph.add_input(input.name(), fact);
            section.bind(input.name(), Binding::Value(id), proto.name(), || "an input".into())?;
        }
        Ok(())
    }

    fn add_captures(&mut self, captures: &Captures<'p>, section: &mut Section<'p>) {
        let inputs: Vec<ValueId> = captures
            .values
            .iter()
            .map(|value| self.graph.add_input(value.name.clone(), value.fact.clone()))
            .collect();
        for (name, captured) in &captures.names {
            let binding = match captured {
                Captured::Absent => Binding::Absent,
                Captured::Constant(tensor) => Binding::Value(self.graph.add_constant(*name, tensor.clone())),
                Captured::Value(index) => inputs.get(*index).copied().map_or(Binding::Absent, Binding::Value),
            };
            section.names.bind(name, binding);
        }
    }

    /// Makes the values that nodes give, so that nodes and bodies may stand in any order. `given` are values that
    /// exist already: those that a function's call asks for.
    fn declare_outputs(
        &mut self,
        nodes: &'p [NodeProto],
        given: &HashMap<&'p str, ValueId>,
        owner: &str,
        section: &mut Section<'p>,
    ) -> Result<(), LoadErrorKind> {
        for node in nodes {
            let constant = if self.is_constant(node) {
                Some(constant::decode(node, &section.context, &mut self.importer.external)?)
            } else {
                None
            };
            for name in node.output.iter().map(String::as_str).filter(|name| !name.is_empty()) {
                let id = match given.get(name) {
                    Some(id) => *id,
                    None => self.graph.add_value(format!("{}{name}", section.prefix), Fact::Unknown),
                };
                if let Some(tensor) = &constant {
                    self.graph.value_mut(id).fact = Fact::constant(tensor.clone());
                }
                let bound = section.names.bind(name, Binding::Value(id));
                if !bound {
                    let by = Place { proto: node, section }.describe();
                    return Err(LoadErrorKind::DuplicateName { name: name.into(), graph: owner.into(), by });
                }
            }
        }
        Ok(())
    }

    fn is_constant(&self, node: &NodeProto) -> bool {
        constant::is_constant(node) && !self.importer.functions.contains_key(&function_id(node))
    }

    fn read_declarations(
        &mut self,
        proto: &'p GraphProto,
        section: &Section<'p>,
    ) -> Result<(), LoadErrorKind> {
        for info in proto.value_info.iter().chain(&proto.output) {
            if let Some(Binding::Value(id)) = section.names.get(info.name()) {
                let fact = types::of_value("value", info)?;
                self.declared.insert(id, fact);
            }
        }
        Ok(())
    }

    fn add(&mut self, node: &'p NodeProto, section: &Section<'p>) -> Result<(), LoadErrorKind> {
        if let Some(&function) = self.importer.functions.get(&function_id(node)) {
            return self.unfold(node, function, section);
        }
        if self.is_constant(node) {
            return Ok(());
        }
        self.add_operator(node, section)
    }

    fn add_operator(&mut self, proto: &'p NodeProto, section: &Section<'p>) -> Result<(), LoadErrorKind> {
        let place = Place { proto, section };
        let mut inputs = place.inputs()?;
        let outputs = place.outputs()?;
        let attributes = place.attributes()?;
        let bodies: Vec<&'p GraphProto> =
            attributes.values().flat_map(|attr| attr.g.iter().chain(&attr.graphs)).collect();
        let captures = Captures::of(&bodies, &section.names, &self.graph).map_err(|name| {
            LoadErrorKind::Undefined { name, user: format!("a body of {}", place.describe()) }
        })?;
        if bodies.is_empty() {
            // A body's captures follow the places that the file states.
            while inputs.last() == Some(&None) {
                inputs.pop();
            }
        }
        let mut attrs = BTreeMap::new();
        for (name, attr) in &attributes {
            attrs.insert((*name).to_owned(), self.attribute(name, attr, &place, &captures)?);
        }

        let domain = domain(proto.domain());
        if self.importer.imports && domain.is_empty() && !section.context.opsets.has(domain) {
            return Err(place.error(format!(
                "it is of operator set `{}`, which the model (or the function around it) does not import; \
                 add it to `opset_import`",
                shown(domain)
            )));
        }
        let opset = section.context.opsets.version(domain);
        let mut def = NodeDef::new(proto.op_type(), opset, attrs);
        def.inputs = inputs.iter().map(Option::is_some).collect();
        def.outputs = outputs.iter().map(Option::is_some).collect();
        def.captures = captures.values.len();
        let failed = |source| {
            LoadErrorKind::Operator(NodeError {
                node: place.name(),
                op: place.op(),
                inputs: format!("({})", proto.input.join(", ")),
                source,
            })
        };
        let op = match inferrum_ops::parse(domain, &mut def) {
            Some(op) => op.map_err(failed)?,
            None => {
                return Err(LoadErrorKind::UnknownOperators(vec![UnknownOperator {
                    domain: shown(domain).into(),
                    op_type: proto.op_type().into(),
                    opset,
                    nodes: 1,
                    first: place.name(),
                }]));
            }
        };
        for (index, tensor) in def.finish().map_err(failed)? {
            self.lift(index, tensor, &mut inputs, &place)?;
        }
        inputs.extend(captures.values.iter().map(|value| Some(value.id)));
        self.graph.nodes_mut().push(Node { name: place.name(), op, inputs, outputs });
        Ok(())
    }

    fn attribute(
        &mut self,
        name: &str,
        attr: &'p AttributeProto,
        place: &Place<'_, 'p>,
        captures: &Captures<'p>,
    ) -> Result<Attr, LoadErrorKind> {
        let mut body = |graph: &'p GraphProto| {
            let mut context = place.section.context.clone();
            context.depth = place.deeper()?;
            let own = captures.for_body(graph);
            Builder::build(self.importer, graph, context, &own, &[]).map(|built| Arc::new(built.graph))
        };
        if let Some(graph) = &attr.g {
            return Ok(Attr::Graph(body(graph)?));
        }
        if !attr.graphs.is_empty() {
            return Ok(Attr::Graphs(attr.graphs.iter().map(body).collect::<Result<_, _>>()?));
        }
        attribute::decode(attr, &mut self.importer.external)
            .map_err(|error| error.at(name, &place.describe()))
    }

    /// Makes a constant that an operator's `parse` asked for the input at `index`.
    fn lift(
        &mut self,
        index: usize,
        tensor: Tensor,
        inputs: &mut Vec<Option<ValueId>>,
        place: &Place<'_, 'p>,
    ) -> Result<(), LoadErrorKind> {
        if index >= inputs.len() {
            inputs.resize(index.saturating_add(1), None);
        }
        match inputs.get_mut(index) {
            Some(slot @ None) => {
                *slot = Some(self.graph.add_constant(format!("{}.{index}", place.name()), tensor));
                Ok(())
            }
            _ => Err(place.error(format!("input {index} is given both as an attribute and as an input"))),
        }
    }

    /// Puts a function's nodes in the place of its call.
    fn unfold(
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
        self.importer.room = self.importer.room.checked_sub(unfolded_bytes(function, &name)).ok_or_else(|| {
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

/// An initializer that is also an input must be what the input declares.
fn check_default(name: &str, declared: &Fact, constant: &Fact) -> Result<(), LoadErrorKind> {
    if declared.merge(constant).is_some() {
        return Ok(());
    }
    Err(LoadErrorKind::Type {
        place: format!("input `{name}`"),
        reason: format!("it is declared as {declared}, but its initializer is {constant}"),
    })
}

impl<'p> Section<'p> {
    fn bind(
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
    fn resolve(&self, name: &str, user: impl Fn() -> String) -> Result<Option<ValueId>, LoadErrorKind> {
        match self.names.get(name) {
            _ if name.is_empty() => Ok(None),
            Some(Binding::Value(id)) => Ok(Some(id)),
            Some(Binding::Absent) => Ok(None),
            None => Err(LoadErrorKind::Undefined { name: name.into(), user: user() }),
        }
    }
}

/// A node with the names around it.
struct Place<'s, 'p> {
    proto: &'p NodeProto,
    section: &'s Section<'p>,
}

impl<'p> Place<'_, 'p> {
    /// The node's name, or one made of its operator and first output.
    fn name(&self) -> String {
        let prefix = &self.section.prefix;
        match self.proto.name() {
            "" => {
                let output = self.proto.output.iter().find(|name| !name.is_empty());
                format!("{prefix}{}:{}", self.proto.op_type(), output.map_or("", String::as_str))
            }
            name => format!("{prefix}{name}"),
        }
    }

    fn op(&self) -> String {
        match domain(self.proto.domain()) {
            "" => self.proto.op_type().to_owned(),
            domain => format!("{domain}.{}", self.proto.op_type()),
        }
    }

    fn describe(&self) -> String {
        format!("node `{}` ({})", self.name(), self.op())
    }

    fn error(&self, reason: String) -> LoadErrorKind {
        LoadErrorKind::Node { node: self.name(), op: self.op(), reason }
    }

    fn inputs(&self) -> Result<Vec<Option<ValueId>>, LoadErrorKind> {
        self.proto.input.iter().map(|name| self.section.resolve(name, || self.describe())).collect()
    }

    /// The outputs, without those left out at the end.
    fn outputs(&self) -> Result<Vec<Option<ValueId>>, LoadErrorKind> {
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
    fn attributes(&self) -> Result<BTreeMap<&'p str, &'p AttributeProto>, LoadErrorKind> {
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
    fn deeper(&self) -> Result<usize, LoadErrorKind> {
        let depth = self.section.context.depth.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(LoadErrorKind::TooDeep { limit: MAX_DEPTH, node: self.name() });
        }
        Ok(depth)
    }

    /// What the nodes of the called function see.
    fn callee(&self, function: &'p FunctionProto, id: FunctionId<'p>) -> Result<Context<'p>, LoadErrorKind> {
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
            opsets: Rc::new(crate::scope::Opsets::new(&function.opset_import)),
            arguments: Rc::new(defaults.chain(given).collect()),
            calls,
            depth: self.deeper()?,
        })
    }
}
