//! A model file as a graph.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use inferrum_graph::{Fact, Graph, ValueId};
use prost::Message;

use crate::build::{Builder, Importer};
use crate::capture::Captures;
use crate::error::{LoadError, LoadErrorKind};
use crate::external::ExternalFiles;
use crate::mmap::Mapped;
use crate::proto::{GraphProto, ModelProto};
use crate::scope::{Context, Opsets, domain, function_name};
use crate::summary::Summary;
use crate::{mmap, typing, versions};

/// A loaded model.
#[derive(Debug, Clone)]
pub struct Model {
    /// The graph: sorted, and inferred as far as the declared inputs allow.
    pub graph: Graph,
    /// Constants of the graph that the file also lists as inputs: files of IR version 3 list all initializers so, and
    /// later ones those that a caller may override. To override some, name them in [`Options::overridden`].
    pub overridable: Vec<ValueId>,
    /// What the file says of itself.
    pub info: ModelInfo,
}

/// What a model file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelInfo {
    /// Version of the file format.
    pub ir_version: i64,
    /// Imported operator sets: domain (ONNX's own is `ai.onnx`) and version.
    pub opsets: BTreeMap<String, i64>,
    /// The tool that wrote the file.
    pub producer: String,
    /// That tool's version.
    pub producer_version: String,
    /// The model's name space.
    pub domain: String,
    /// The model's version.
    pub model_version: i64,
    /// The model's description.
    pub description: String,
    /// Free properties.
    pub metadata: BTreeMap<String, String>,
}

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of inputs that the caller will give although the file has a default for them.
    pub overridden: Vec<String>,
}

/// Loads a model; tensors stay in the mapped file (and the files of external data beside it) until they are used.
///
/// The files must not be changed while the model or any of its tensors lives.
///
/// # Errors
/// [`LoadError`], which names the file, the node and the operator.
pub fn load(path: &Path) -> Result<Model, LoadError> {
    load_with(path, &Options::default())
}

/// As [`load`], with options.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, options: &Options) -> Result<Model, LoadError> {
    let file = path.display();
    let mapped = mmap::map(path).map_err(|error| LoadError::new(&file, error))?;
    load_kind(mapped, path.parent(), options).map_err(|kind| LoadError::new(&file, kind))
}

/// Loads a model from its bytes. External data is looked for in `folder`, and refused without one.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(bytes: Bytes, folder: Option<&Path>) -> Result<Model, LoadError> {
    load_bytes_with(bytes, folder, &Options::default())
}

/// As [`load_bytes`], with options.
///
/// # Errors
/// As [`load`].
pub fn load_bytes_with(bytes: Bytes, folder: Option<&Path>, options: &Options) -> Result<Model, LoadError> {
    load_kind(Mapped { bytes, pages: None }, folder, options).map_err(|kind| LoadError::new("model", kind))
}

fn load_kind(file: Mapped, folder: Option<&Path>, options: &Options) -> Result<Model, LoadErrorKind> {
    let file_bytes = file.bytes.len();
    let proto = decode(file.bytes)?;
    let graph = graph(&proto)?;
    let info = ModelInfo::of(&proto);
    versions::check(&proto)?;
    let unknown = Summary::of(&proto)?.unknown();
    if !unknown.is_empty() {
        return Err(LoadErrorKind::UnknownOperators(unknown));
    }
    let mut functions = HashMap::new();
    for function in &proto.functions {
        let id = (domain(function.domain()), function.name(), function.overload());
        if functions.insert(id, function).is_some() {
            return Err(LoadErrorKind::DuplicateFunction(function_name(function)));
        }
    }
    let imports = versions::states_imports(&proto);
    let mut importer = Importer::new(functions, ExternalFiles::new(folder, file.pages), imports, file_bytes);
    let context = Context { opsets: Rc::new(Opsets::new(&proto.opset_import)), ..Context::default() };
    let overridden: Vec<&str> = options.overridden.iter().map(String::as_str).collect();
    let built = Builder::build(&mut importer, graph, context, &Captures::default(), &overridden)?;
    let (mut graph, declared) = (built.graph, built.declared);
    for &id in &graph.inputs {
        if *graph.fact(id) == Fact::Unknown {
            let place = format!("input `{}`", graph.value(id).name);
            return Err(LoadErrorKind::Type { place, reason: "it is not declared".into() });
        }
    }
    let overridable = built.overridable;
    typing::infer(&mut graph, &declared)?;
    Ok(Model { graph, overridable, info })
}

/// The message of a model file.
pub(crate) fn decode(bytes: Bytes) -> Result<ModelProto, LoadErrorKind> {
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(LoadErrorKind::LfsPointer);
    }
    ModelProto::decode(bytes)
        .map_err(|error| LoadErrorKind::Protobuf { message: "ONNX model", reason: error.to_string() })
}

/// The graph of a model, which is never empty of everything: any bytes may decode to a message of unknown fields.
pub(crate) fn graph(proto: &ModelProto) -> Result<&GraphProto, LoadErrorKind> {
    proto.graph.as_ref().ok_or(LoadErrorKind::NoGraph)
}

impl ModelInfo {
    pub(crate) fn of(proto: &ModelProto) -> ModelInfo {
        let opsets = Opsets::new(&proto.opset_import);
        ModelInfo {
            ir_version: proto.ir_version(),
            opsets: opsets.iter().map(|(domain, version)| (domain.to_owned(), version)).collect(),
            producer: proto.producer_name().to_owned(),
            producer_version: proto.producer_version().to_owned(),
            domain: proto.domain().to_owned(),
            model_version: proto.model_version(),
            description: proto.doc_string().to_owned(),
            metadata: proto
                .metadata_props
                .iter()
                .map(|p| (p.key().to_owned(), p.value().to_owned()))
                .collect(),
        }
    }
}
