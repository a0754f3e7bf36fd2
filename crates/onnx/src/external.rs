//! Tensors whose elements are kept beside the model (<https://onnx.ai/onnx/repo-docs/ExternalData.html>).
//!
//! A model may come from anyone, so a location must stay in the model's folder: no absolute path, no `..`, and no
//! symbolic link that leads out of it.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::error::TensorProtoError;
use crate::mmap;
use crate::proto::StringStringEntryProto;

/// The files that a model's tensors are kept in, each mapped once.
#[derive(Debug, Default)]
pub(crate) struct ExternalFiles {
    folder: Option<PathBuf>,
    files: HashMap<PathBuf, Bytes>,
}

impl ExternalFiles {
    /// Files of a model in `folder`; none may be used without one.
    pub(crate) fn new(folder: Option<&Path>) -> ExternalFiles {
        ExternalFiles { folder: folder.map(Path::to_owned), files: HashMap::new() }
    }

    /// The bytes that `entries` point to. `needed` is how many the tensor takes, for entries without a length.
    pub(crate) fn read(
        &mut self,
        entries: &[StringStringEntryProto],
        needed: Option<usize>,
    ) -> Result<Bytes, TensorProtoError> {
        let entry = |key: &str| {
            let found = entries.iter().find(|entry| entry.key.as_deref() == Some(key));
            found.and_then(|entry| entry.value.as_deref())
        };
        let location = entry("location").ok_or_else(|| invalid("there is no `location`"))?;
        let file = self.file(location)?;
        let offset = entry("offset").map_or(Ok(0), |text| number("offset", text))?;
        let length = match entry("length") {
            Some(text) => number("length", text)?,
            None => needed.unwrap_or_else(|| file.len().saturating_sub(offset)),
        };
        let end = offset.checked_add(length).filter(|end| *end <= file.len()).ok_or_else(|| {
            invalid(format!(
                "bytes {offset} to {} are needed, but file `{location}` has {}; it may be cut off",
                offset.saturating_add(length),
                file.len()
            ))
        })?;
        Ok(file.slice(offset..end))
    }

    fn file(&mut self, location: &str) -> Result<Bytes, TensorProtoError> {
        let folder = self.folder.as_deref().ok_or_else(|| {
            invalid(format!(
                "file `{location}` is needed, but the model was given as bytes; load it by its path"
            ))
        })?;
        let path = path_inside(folder, location)?;
        if let Some(bytes) = self.files.get(&path) {
            return Ok(bytes.clone());
        }
        let bytes = mmap::map(&path).map_err(|error| invalid(format!("file `{location}`: {error}")))?;
        self.files.insert(path, bytes.clone());
        Ok(bytes)
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
