//! What a model file holds, told without building its graph: also for models with operators that do not exist here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use bytes::Bytes;
use inferrum_graph::Fact;

use crate::error::{LoadError, LoadErrorKind, UnknownOperator};
use crate::model::{ModelInfo, decode, graph};
use crate::proto::{FunctionProto, ModelProto, NodeProto};
use crate::scope::{FunctionId, Opsets, domain, function_id, shown};
use crate::{constant, mmap, types};

/// What a model file holds.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What the file says of itself.
    pub info: ModelInfo,
    /// The graph's name.
    pub graph: String,
    /// Inputs that a caller must give: name and type.
    pub inputs: Vec<(String, Fact)>,
    /// Outputs: name and type.
    pub outputs: Vec<(String, Fact)>,
    /// Operators that the nodes use, those of bodies and of called functions among them; each function counts once.
    pub operators: Vec<OperatorUse>,
    /// Number of stored tensors of the graph itself.
    pub initializers: usize,
    /// Number of elements in them.
    pub parameters: u128,
    /// Number of functions that the file defines.
    pub functions: usize,
}

/// How often an operator is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorUse {
    /// Its domain; `ai.onnx` for ONNX's own.
    pub domain: String,
    /// Its type.
    pub op_type: String,
    /// The version of the domain that the model imports.
    pub opset: i64,
    /// How many nodes use it.
    pub nodes: usize,
    /// The first of them: its name, or that of its first output.
    pub first: String,
    /// Whether it exists here.
    pub known: bool,
}

/// Tells what a model file holds.
///
/// # Errors
/// The file cannot be read or is no ONNX model.
pub fn summary(path: &Path) -> Result<Summary, LoadError> {
    let read = || Summary::of(&decode(mmap::map(path)?.bytes)?);
    read().map_err(|kind| LoadError::new(path.display(), kind))
}

/// Tells what the bytes of a model file hold.
///
/// # Errors
/// As [`summary()`].
pub fn summary_bytes(bytes: Bytes) -> Result<Summary, LoadError> {
    decode(bytes).and_then(|proto| Summary::of(&proto)).map_err(|kind| LoadError::new("model", kind))
}

impl Summary {
    pub(crate) fn of(proto: &ModelProto) -> Result<Summary, LoadErrorKind> {
        let graph = graph(proto)?;
        let stored: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
        let inputs = graph.input.iter().filter(|input| !stored.contains(input.name()));
        let typed = |what: &'static str| {
            move |info| {
                Ok::<_, LoadErrorKind>((
                    String::from(crate::proto::ValueInfoProto::name(info)),
                    types::of_value(what, info)?,
                ))
            }
        };
        let extents = |dims: &[i64]| {
            dims.iter().fold(1u128, |n, &dim| n.saturating_mul(u128::try_from(dim).unwrap_or_default()))
        };
        Ok(Summary {
            info: ModelInfo::of(proto),
            graph: graph.name().to_owned(),
            inputs: inputs.map(typed("input")).collect::<Result<_, _>>()?,
            outputs: graph.output.iter().map(typed("output")).collect::<Result<_, _>>()?,
            operators: Tally::of(proto).finish(),
            initializers: graph.initializer.len().saturating_add(graph.sparse_initializer.len()),
            parameters: graph.initializer.iter().fold(0, |n, tensor| n.saturating_add(extents(&tensor.dims))),
            functions: proto.functions.len(),
        })
    }

    /// The operators that do not exist here.
    pub fn unknown(&self) -> Vec<UnknownOperator> {
        let unknown = self.operators.iter().filter(|used| !used.known).cloned();
        unknown
            .map(|OperatorUse { domain, op_type, opset, nodes, first, .. }| UnknownOperator {
                domain,
                op_type,
                opset,
                nodes,
                first,
            })
            .collect()
    }

    /// Number of nodes, those of bodies and called functions among them.
    pub fn nodes(&self) -> usize {
        self.operators.iter().map(|used| used.nodes).sum()
    }
}

/// Counts the nodes of a model.
struct Tally<'p> {
    functions: HashMap<FunctionId<'p>, &'p FunctionProto>,
    called: HashSet<FunctionId<'p>>,
    waiting: Vec<&'p FunctionProto>,
    /// Opset, number of nodes and the first node's name for each domain and type.
    uses: BTreeMap<(&'p str, &'p str), (i64, usize, &'p str)>,
}

impl<'p> Tally<'p> {
    fn of(proto: &'p ModelProto) -> Tally<'p> {
        let functions =
            proto.functions.iter().map(|f| ((domain(f.domain()), f.name(), f.overload()), f)).collect();
        let mut tally =
            Tally { functions, called: HashSet::new(), waiting: Vec::new(), uses: BTreeMap::new() };
        if let Some(graph) = &proto.graph {
            tally.count(&graph.node, &Opsets::new(&proto.opset_import));
        }
        while let Some(function) = tally.waiting.pop() {
            tally.count(&function.node, &Opsets::new(&function.opset_import));
        }
        tally
    }

    fn count(&mut self, nodes: &'p [NodeProto], opsets: &Opsets) {
        for node in nodes {
            let id = function_id(node);
            if let Some(function) = self.functions.get(&id) {
                if self.called.insert(id) {
                    self.waiting.push(function);
                }
            } else {
                let domain = domain(node.domain());
                let name = match node.name() {
                    "" => node.output.first().map_or("", String::as_str),
                    name => name,
                };
                let (_, count, _) =
                    self.uses.entry((domain, node.op_type())).or_insert((opsets.version(domain), 0, name));
                *count = count.saturating_add(1);
            }
            for body in node.attribute.iter().flat_map(|attr| attr.g.iter().chain(&attr.graphs)) {
                self.count(&body.node, opsets);
            }
        }
    }

    fn finish(self) -> Vec<OperatorUse> {
        let known = |domain: &str, op_type: &str| {
            inferrum_ops::find(domain, op_type).is_some() || constant::is_constant_type(domain, op_type)
        };
        self.uses
            .into_iter()
            .map(|((domain, op_type), (opset, nodes, first))| OperatorUse {
                domain: shown(domain).to_owned(),
                op_type: op_type.to_owned(),
                opset,
                nodes,
                first: first.to_owned(),
                known: known(domain, op_type),
            })
            .collect()
    }
}
