//! Tensors whose elements are kept beside the model (<https://onnx.ai/onnx/repo-docs/ExternalData.html>).
//!
//! A model may come from anyone, so a location must stay in the model's folder: no absolute path, no `..`, and no
//! symbolic link that leads out of it.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use inferrum_tensor::Pages;

use crate::error::TensorProtoError;
use crate::mmap::{self, Mapped};
use crate::proto::StringStringEntryProto;

/// The files that a model's tensors are kept in, each mapped once.
#[derive(Default)]
pub(crate) struct ExternalFiles {
    folder: Option<PathBuf>,
    files: HashMap<PathBuf, Mapped>,
    /// The model's own file, if it is mapped.
    pub(crate) model: Option<Arc<dyn Pages>>,
}

impl ExternalFiles {
    /// Files of a model in `folder`, beside its own, `model`; none may be used without a folder.
    pub(crate) fn new(folder: Option<&Path>, model: Option<Arc<dyn Pages>>) -> ExternalFiles {
        ExternalFiles { folder: folder.map(Path::to_owned), files: HashMap::new(), model }
    }

    /// The bytes that `entries` point to. `needed` is how many the tensor takes, for entries without a length.
    pub(crate) fn read(
        &mut self,
        entries: &[StringStringEntryProto],
        needed: Option<usize>,
    ) -> Result<Mapped, TensorProtoError> {
        let entry = |key: &str| {
            let found = entries.iter().find(|entry| entry.key.as_deref() == Some(key));
            found.and_then(|entry| entry.value.as_deref())
        };
        let location = entry("location").ok_or_else(|| invalid("there is no `location`"))?;
        let file = self.file(location)?;
        let offset = entry("offset").map_or(Ok(0), |text| number("offset", text))?;
        let length = match entry("length") {
            Some(text) => number("length", text)?,
            None => needed.unwrap_or_else(|| file.bytes.len().saturating_sub(offset)),
        };
        let end = offset.saturating_add(length);
        file.slice(offset..end).ok_or_else(|| {
            let size = file.bytes.len();
            invalid(format!(
                "bytes {offset} to {end} are needed, but file `{location}` has {size}; it may be cut off"
            ))
        })
    }

    fn file(&mut self, location: &str) -> Result<Mapped, TensorProtoError> {
        let folder = self.folder.as_deref().ok_or_else(|| {
            invalid(format!(
                "file `{location}` is needed, but the model was given as bytes; load it by its path"
            ))
        })?;
        let path = path_inside(folder, location)?;
        if let Some(file) = self.files.get(&path) {
            return Ok(file.clone());
        }
        let file = mmap::map(&path).map_err(|error| invalid(format!("file `{location}`: {error}")))?;
        self.files.insert(path, file.clone());
        Ok(file)
    }
}

/// The real path of a location, if it lies in `folder`.
fn path_inside(folder: &Path, location: &str) -> Result<PathBuf, TensorProtoError> {
    // A backslash is a separator on some systems only; a model must not mean different files.
    let inside = !location.is_empty()
        && !location.contains(['\\', '\0'])
        && Path::new(location).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(invalid(format!("location `{location}` must be a relative path in the model's folder")));
    }
    let real =
        |path: &Path| path.canonicalize().map_err(|error| invalid(format!("`{}`: {error}", path.display())));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let path = real(&folder.join(location))?;
    if !path.starts_with(real(folder)?) {
        return Err(invalid(format!(
            "`{location}` is a link that leads out of the model's folder; copy the file there"
        )));
    }
    Ok(path)
}

fn number(key: &str, text: &str) -> Result<usize, TensorProtoError> {
    text.trim().parse().map_err(|_| invalid(format!("`{key}` must be a number of bytes, got `{text}`")))
}

fn invalid(reason: impl Into<String>) -> TensorProtoError {
    TensorProtoError::External(reason.into())
}
