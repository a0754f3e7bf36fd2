//! `GraphProto` to a graph: names become values, nodes become operators, bodies become graphs with explicit captures.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use inferrum_graph::{Attr, Fact, Graph, Node, NodeDef, NodeError, ValueId};
use inferrum_tensor::Tensor;

use crate::attribute;
use crate::capture::{Captured, Captures};
use crate::error::{LoadErrorKind, UnknownOperator};
use crate::external::ExternalFiles;
use crate::place::Place;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
use crate::scope::{Binding, Context, FunctionId, Names, domain, function_id, shown};
use crate::section::Section;
use crate::{constant, tensor, types};

/// What all graphs of a model share while it is built.
pub(crate) struct Importer<'p> {
    pub(crate) functions: HashMap<FunctionId<'p>, &'p FunctionProto>,
    pub(crate) external: ExternalFiles,
    /// Whether every operator set must be imported: files of the first IR versions have no imports.
    pub(crate) imports: bool,
    /// Bytes of nodes that calls of functions may still unfold to.
    pub(crate) room: usize,
    pub(crate) limit: usize,
}

impl<'p> Importer<'p> {
    /// An importer of a model in a file of `file_bytes`.
    pub(crate) fn new(
        functions: HashMap<FunctionId<'p>, &'p FunctionProto>,
        external: ExternalFiles,
        imports: bool,
        file_bytes: usize,
    ) -> Importer<'p> {
        let limit = crate::unfold::MAX_UNFOLDED_BYTES.saturating_add(file_bytes);
        Importer { functions, external, imports, room: limit, limit }
    }
}

/// A graph that is being built.
pub(crate) struct Builder<'i, 'p> {
    pub(crate) importer: &'i mut Importer<'p>,
    pub(crate) graph: Graph,
    /// What the file declares of values that nodes give.
    pub(crate) declared: HashMap<ValueId, Fact>,
    /// Inputs with a default; see [`crate::Model::overridable`].
    pub(crate) overridable: Vec<ValueId>,
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
    pub(crate) fn declare_outputs(
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

    pub(crate) fn add(&mut self, node: &'p NodeProto, section: &Section<'p>) -> Result<(), LoadErrorKind> {
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

        self.check_import(&place)?;
        let failed = |source| {
            LoadErrorKind::Operator(NodeError {
                node: place.name(),
                op: place.op(),
                inputs: format!("({})", proto.input.join(", ")),
                source,
            })
        };
        let domain = domain(proto.domain());
        let mut def = NodeDef::new(proto.op_type(), section.context.opsets.version(domain), attrs);
        def.inputs = inputs.iter().map(Option::is_some).collect();
        def.outputs = outputs.iter().map(Option::is_some).collect();
        def.captures = captures.values.len();
        let op = match inferrum_ops::parse(domain, &mut def) {
            Some(op) => op.map_err(failed)?,
            None => {
                return Err(LoadErrorKind::UnknownOperators(vec![UnknownOperator {
                    domain: shown(domain).into(),
                    op_type: proto.op_type().into(),
                    opset: def.opset,
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

    /// The node's operator set must be imported: which version is meant is not known otherwise.
    fn check_import(&self, place: &Place<'_, 'p>) -> Result<(), LoadErrorKind> {
        let domain = domain(place.proto.domain());
        if self.importer.imports && domain.is_empty() && !place.section.context.opsets.has(domain) {
            return Err(place.error(format!(
                "it is of operator set `{}`, which the model (or the function around it) does not import; \
                 add it to `opset_import`",
                shown(domain)
            )));
        }
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
