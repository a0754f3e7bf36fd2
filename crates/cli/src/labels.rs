//! Names of classes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::model;

/// Names of classes, one a line.
pub(crate) struct Labels {
    names: Vec<String>,
    /// Where they are from.
    pub(crate) file: PathBuf,
    /// Whether the user named the file.
    pub(crate) asked_for: bool,
}

impl Labels {
    /// The labels in `file`, or in the file beside the model if there is one.
    pub(crate) fn find(file: Option<&Path>, model: &Path) -> Result<Option<Labels>> {
        match (file, model::labels_beside(model)) {
            (Some(file), _) => Ok(Some(Labels::read(file, true)?)),
            (None, Some(beside)) => Ok(Labels::read(&beside, false).ok()),
            (None, None) => Ok(None),
        }
    }

    fn read(file: &Path, asked_for: bool) -> Result<Labels> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
        let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        ensure!(!names.is_empty(), "{} holds no labels; expected one a line", file.display());
        Ok(Labels { names, file: file.to_owned(), asked_for })
    }

    /// Number of labels.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The name of a class.
    pub(crate) fn get(&self, class: usize) -> Option<&str> {
        self.names.get(class).map(String::as_str)
    }
}
