//! A node as a file states it, read by an operator's `parse`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use inferrum_tensor::{Element, Tensor};

use crate::{Fact, Graph, OpError};

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum Attr {
    /// A number.
    Int(i64),
    /// A number.
    Float(f32),
    /// Bytes, mostly UTF-8 text.
    String(Vec<u8>),
    /// A tensor (dense; sparse ones are expanded by the importer).
    Tensor(Tensor),
    /// A body; what it takes from the graph around it are its last inputs.
    Graph(Arc<Graph>),
    /// A type.
    Type(Fact),
    /// Numbers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Texts.
    Strings(Vec<Vec<u8>>),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// Bodies.
    Graphs(Vec<Arc<Graph>>),
}

impl Attr {
    fn kind(&self) -> &'static str {
        match self {
            Attr::Int(_) => "an integer",
            Attr::Float(_) => "a float",
            Attr::String(_) => "a string",
            Attr::Tensor(_) => "a tensor",
            Attr::Graph(_) => "a graph",
            Attr::Type(_) => "a type",
            Attr::Ints(_) => "integers",
            Attr::Floats(_) => "floats",
            Attr::Strings(_) => "strings",
            Attr::Tensors(_) => "tensors",
            Attr::Graphs(_) => "graphs",
        }
    }
}

/// A node as the file states it. `parse` reads every attribute (an unread one is unknown, hence an error) and may move
/// attributes of old opsets to where the canonical form has them: constant inputs.
#[derive(Debug)]
pub struct NodeDef {
    /// The operator's type.
    pub op_type: String,
    /// The version of the operator's domain that the model imports.
    pub opset: i64,
    /// For each input place, whether an input is given. Captured values of bodies are not among them.
    pub inputs: Vec<bool>,
    /// For each output place, whether the output is used.
    pub outputs: Vec<bool>,
    /// How many values the bodies take from the graph around them; they follow the node's own inputs.
    pub captures: usize,
    attrs: BTreeMap<String, Attr>,
    read: BTreeSet<String>,
    lifted: Vec<(usize, Tensor)>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident, $variant:ident, $ty:ty, $expected:literal;)*) => { $(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`OpError::Attribute`] when the attribute is of another kind.
        pub fn $name(&mut self, name: &str) -> Result<Option<$ty>, OpError> {
            match self.take(name) {
                None => Ok(None),
                Some(Attr::$variant(value)) => Ok(Some(value)),
                Some(other) => Err(OpError::attribute(name, $expected, other.kind())),
            }
        }
    )* };
}

impl NodeDef {
    /// A node definition; see the fields.
    pub fn new(op_type: impl Into<String>, opset: i64, attrs: BTreeMap<String, Attr>) -> NodeDef {
        NodeDef {
            op_type: op_type.into(),
            opset,
            inputs: Vec::new(),
            outputs: vec![true],
            captures: 0,
            attrs,
            read: BTreeSet::new(),
            lifted: Vec::new(),
        }
    }

    fn take(&mut self, name: &str) -> Option<Attr> {
        self.read.insert(name.to_owned());
        self.attrs.get(name).cloned()
    }

    getters! {
        /// An integer attribute, if it is there.
        int, Int, i64, "an integer";
        /// A float attribute, if it is there.
        float, Float, f32, "a float";
        /// A tensor attribute, if it is there.
        tensor, Tensor, Tensor, "a tensor";
        /// A body, if it is there.
        graph, Graph, Arc<Graph>, "a graph";
        /// A type attribute, if it is there.
        type_, Type, Fact, "a type";
        /// A tensor list, if it is there.
        tensors, Tensors, Vec<Tensor>, "tensors";
        /// The bytes of a string attribute, if it is there.
        bytes, String, Vec<u8>, "a string";
    }

    /// An integer attribute or its default.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when the attribute is of another kind.
    pub fn int_or(&mut self, name: &str, default: i64) -> Result<i64, OpError> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// A float attribute or its default.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when the attribute is of another kind.
    pub fn float_or(&mut self, name: &str, default: f32) -> Result<f32, OpError> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// An integer attribute that must be 0 or 1.
    ///
    /// # Errors
    /// [`OpError::Attribute`].
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, OpError> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(OpError::attribute(name, "0 or 1", other)),
        }
    }

    /// A text attribute, if it is there.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when it is of another kind or no UTF-8.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, OpError> {
        self.bytes(name)?.map(|bytes| utf8(name, bytes)).transpose()
    }

    /// A text attribute or its default.
    ///
    /// # Errors
    /// As [`NodeDef::string`].
    pub fn string_or(&mut self, name: &str, default: &str) -> Result<String, OpError> {
        Ok(self.string(name)?.unwrap_or_else(|| default.to_owned()))
    }

    /// An integer list, if it is there. An empty list may stand in the file as a list of any kind.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when the attribute is of another kind.
    pub fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attr::Ints(values)) => Ok(Some(values)),
            Some(other) => Err(OpError::attribute(name, "integers", other.kind())),
        }
    }

    /// A float list, if it is there.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when the attribute is of another kind.
    pub fn floats(&mut self, name: &str) -> Result<Option<Vec<f32>>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attr::Floats(values)) => Ok(Some(values)),
            Some(Attr::Ints(values)) if values.is_empty() => Ok(Some(Vec::new())),
            Some(other) => Err(OpError::attribute(name, "floats", other.kind())),
        }
    }

    /// A list of texts, if it is there.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when the attribute is of another kind or no UTF-8.
    pub fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attr::Strings(values)) => {
                values.into_iter().map(|bytes| utf8(name, bytes)).collect::<Result<_, _>>().map(Some)
            }
            Some(Attr::Ints(values)) if values.is_empty() => Ok(Some(Vec::new())),
            Some(other) => Err(OpError::attribute(name, "strings", other.kind())),
        }
    }

    /// Whether the attribute is there, without reading it.
    pub fn has(&self, name: &str) -> bool {
        self.attrs.contains_key(name)
    }

    /// Marks attributes as known that change nothing in inference.
    pub fn ignore(&mut self, names: &[&str]) {
        self.read.extend(names.iter().map(|&name| name.to_owned()));
    }

    /// Whether input `index` is given.
    pub fn has_input(&self, index: usize) -> bool {
        self.inputs.get(index).copied().unwrap_or(false)
    }

    /// Makes `tensor` the constant input `index`.
    pub fn lift(&mut self, index: usize, tensor: Tensor) {
        self.lifted.push((index, tensor));
    }

    /// Makes the integer list `name`, if it is there, the constant int64 input `index`.
    ///
    /// # Errors
    /// [`OpError::Attribute`] when the attribute is of another kind.
    pub fn lift_ints(&mut self, name: &str, index: usize) -> Result<(), OpError> {
        if let Some(values) = self.ints(name)? {
            self.lift(index, Tensor::vector(values));
        }
        Ok(())
    }

    /// Makes a scalar the constant input `index`.
    pub fn lift_scalar<T: Element>(&mut self, index: usize, value: T) {
        self.lift(index, Tensor::scalar(value));
    }

    /// The constant inputs that `parse` asked for; an error if it left an attribute unread.
    ///
    /// # Errors
    /// [`OpError::UnknownAttributes`].
    pub fn finish(self) -> Result<Vec<(usize, Tensor)>, OpError> {
        let unknown: Vec<String> = self.attrs.into_keys().filter(|name| !self.read.contains(name)).collect();
        if unknown.is_empty() { Ok(self.lifted) } else { Err(OpError::UnknownAttributes(unknown)) }
    }
}

fn utf8(name: &str, bytes: Vec<u8>) -> Result<String, OpError> {
    String::from_utf8(bytes).map_err(|_| OpError::attribute(name, "UTF-8 text", "other bytes"))
}
