//! Runs the command, and makes files for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use inferrum::{Tensor, Value};
use serde_json::Value as Json;

/// A finished command.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A file of the project's assets.
pub(crate) fn asset(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(name);
    path.canonicalize().unwrap().display().to_string()
}

/// The command, not yet run.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferrum"));
    command.args(args).stdin(Stdio::null()).env_remove("NO_COLOR").env("RUST_BACKTRACE", "1");
    command
}

/// Runs the command.
pub(crate) fn inferrum(args: &[&str]) -> Done {
    let Output { status, stdout, stderr } = command(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// Runs the command, which must succeed.
pub(crate) fn succeed(args: &[&str]) -> String {
    let done = inferrum(args);
    assert_eq!(done.code, 0, "{args:?}: {}{}", done.out, done.err);
    done.out
}

/// Runs the command, which must print JSON.
pub(crate) fn json(args: &[&str]) -> Json {
    let out = succeed(args);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A folder that is deleted when dropped, and a path in it as text.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file, and gives its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Writes a tensor as a `.npy` file.
    pub(crate) fn npy(&self, name: &str, values: &[f32], shape: &[usize]) -> String {
        self.write(name, npy(values, shape))
    }

    /// Writes tensors as a `.npz` file.
    pub(crate) fn npz(&self, name: &str, arrays: &[(&str, Vec<u8>)]) -> String {
        let mut archive = zip::ZipWriter::new(std::fs::File::create(self.path(name)).unwrap());
        for (name, npy) in arrays {
            archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut archive, npy).unwrap();
        }
        archive.finish().unwrap();
        self.text(name)
    }
}

/// A tensor as the content of a `.npy` file.
pub(crate) fn npy(values: &[f32], shape: &[usize]) -> Vec<u8> {
    use npyz::WriterBuilder;
    let shape: Vec<u64> = shape.iter().map(|&dim| dim as u64).collect();
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes);
    let mut writer = options.begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    bytes
}

/// A tensor as a `.pb` file.
pub(crate) fn pb(tensor: &Tensor, name: &str) -> Vec<u8> {
    inferrum::onnx::value::encode(&Value::Tensor(tensor.clone()), name).unwrap()
}

/// The digit in `seven.png` as the model takes it.
pub(crate) fn seven() -> Tensor {
    let image = inferrum::image::open(asset("seven.png")).unwrap();
    let session = inferrum::Session::load(asset("digits.onnx")).unwrap();
    inferrum::image::ImageInput::new().tensor(&image, &session.inputs()[0].fact).unwrap()
}
