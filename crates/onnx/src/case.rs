//! A model with inputs and expected outputs, in the layout of ONNX's backend tests: `model.onnx`, and
//! `test_data_set_K/input_I.pb` and `output_I.pb` in the order of the graph's inputs and outputs.

use std::path::{Path, PathBuf};

use inferrum_graph::{Fact, Graph};
use inferrum_tensor::Value;

use crate::error::LoadErrorKind;
use crate::{LoadError, Model, Options, load, load_with, mmap, value};

/// A model with its sets of values.
#[derive(Debug, Clone)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The model.
    pub model: Model,
    /// The sets, in numerical order.
    pub sets: Vec<Set>,
    /// How closely outputs must agree, if the folder says so.
    pub expectation: Option<Expectation>,
}

/// Inputs and the outputs that they must give.
#[derive(Debug, Clone)]
pub struct Set {
    /// The folder's name, such as `test_data_set_0`.
    pub name: String,
    /// One for each graph input.
    pub inputs: Vec<Value>,
    /// One for each graph output.
    pub outputs: Vec<Value>,
}

/// The tolerance that `META.json` states under `tolerance`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expectation {
    /// Greatest error of floats, as a part of the greatest magnitude of the expected output (at least 1e-6). Integers
    /// must be equal, 8-bit ones may be off by one.
    pub of_greatest: f64,
}

/// Why a case cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// The model or a value cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The files of a set do not fit the model.
    #[error("{folder}: expected {expected} {what} files, got {got}")]
    Count {
        /// The set's folder.
        folder: String,
        /// `input` or `output`.
        what: &'static str,
        /// As many as the graph has.
        expected: usize,
        /// As many as there are.
        got: usize,
    },
}

impl Case {
    /// Loads the case in `folder`.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn load(folder: &Path) -> Result<Case, CaseError> {
        let path = folder.join("model.onnx");
        let mut model = load(&path)?;
        let sets = numbered(folder, "test_data_set_", "")?;
        if let Some(set) = sets.first() {
            let given = numbered(set, "input_", ".pb")?.len();
            // Old cases give values for inputs that also have a default.
            if given == model.graph.inputs.len().saturating_add(model.overridable.len())
                && !model.overridable.is_empty()
            {
                let overridden =
                    model.overridable.iter().map(|&id| model.graph.value(id).name.clone()).collect();
                model = load_with(&path, &Options { overridden })?;
            }
        }
        let sets = sets.iter().map(|set| Set::load(set, &model.graph)).collect::<Result<_, _>>()?;
        Ok(Case { name: file_name(folder), model, sets, expectation: Expectation::load(folder)? })
    }
}

impl Set {
    /// Loads the set in `folder` for a graph.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn load(folder: &Path, graph: &Graph) -> Result<Set, CaseError> {
        let facts = |ids: &[inferrum_graph::ValueId]| -> Vec<Fact> {
            ids.iter().map(|&id| graph.fact(id).clone()).collect()
        };
        Ok(Set {
            name: file_name(folder),
            inputs: values(folder, "input", &facts(&graph.inputs))?,
            outputs: values(folder, "output", &facts(&graph.outputs))?,
        })
    }
}

impl Expectation {
    fn load(folder: &Path) -> Result<Option<Expectation>, LoadError> {
        let path = folder.join("META.json");
        if !path.exists() {
            return Ok(None);
        }
        let failed = |kind| LoadError::new(path.display(), kind);
        let file = mmap::map(&path).map_err(|error| failed(error.into()))?;
        let json: serde_json::Value = serde_json::from_slice(&file.bytes).map_err(|error| {
            failed(LoadErrorKind::Protobuf { message: "JSON text", reason: error.to_string() })
        })?;
        let value = json.pointer("/tolerance/value").and_then(serde_json::Value::as_f64);
        Ok(value.map(|of_greatest| Expectation { of_greatest }))
    }
}

fn values(folder: &Path, what: &'static str, facts: &[Fact]) -> Result<Vec<Value>, CaseError> {
    let files = numbered(folder, &format!("{what}_"), ".pb")?;
    if files.len() != facts.len() {
        let folder = folder.display().to_string();
        return Err(CaseError::Count { folder, what, expected: facts.len(), got: files.len() });
    }
    let read = |(path, fact): (&PathBuf, &Fact)| {
        let file = mmap::map(path).map_err(LoadErrorKind::from);
        let value = file.and_then(|file| value::decode(file.bytes, fact));
        value.map_err(|kind| CaseError::Load(LoadError::new(path.display(), kind)))
    };
    files.iter().zip(facts).map(read).collect()
}

/// The entries `PREFIX<number>SUFFIX` of a folder, by number.
fn numbered(folder: &Path, prefix: &str, suffix: &str) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |error: std::io::Error| LoadError::new(folder.display(), error);
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = file_name(&path);
        let number = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
