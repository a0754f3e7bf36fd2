//! Where the test data is.

use std::path::{Path, PathBuf};

/// The project's root; `INFERRUM_REPOSITORY` names it where the tests do not run where they were built.
pub fn root() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("INFERRUM_REPOSITORY").map_or_else(built, PathBuf::from)
}

/// A folder of the corpus: below `INFERRUM_CORPUS`, or below `../shared/corpus`. `None`, and a line on standard error
/// that says so, when it is absent.
pub fn folder(name: &str) -> Option<PathBuf> {
    let base =
        std::env::var_os("INFERRUM_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let folder = base.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is absent; set INFERRUM_CORPUS to the folder of the corpus", folder.display());
    None
}

/// The node suite: the corpus's, or the one that `cargo xtask test` wrote to `target/onnx-suite`.
pub fn node_suite() -> Option<PathBuf> {
    let own = root().join("target/onnx-suite/node");
    folder("onnx_backend/node").or_else(|| own.is_dir().then_some(own))
}

/// The cases (folders with a `model.onnx`) in a folder, sorted by name.
pub fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("model.onnx").is_file()).collect();
    cases.sort();
    cases
}

/// Cases of the training domain, which is out of scope.
const TRAINING: &[&str] =
    &["test_adagrad", "test_adam", "test_momentum", "test_nesterov_momentum", "test_gradient_of"];

/// The cases of a suite's folder, if it is there, but for those of the training domain.
pub fn inference_cases(folder: Option<PathBuf>) -> Vec<PathBuf> {
    let mut cases = folder.map(|folder| cases(&folder)).unwrap_or_default();
    cases.retain(|case| {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        !TRAINING.iter().any(|prefix| name.starts_with(prefix))
    });
    cases
}
