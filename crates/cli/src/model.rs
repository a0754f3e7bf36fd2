//! Loading a model with what the command line says of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use inferrum::graph::Graph;
use inferrum::onnx::{self, Model, Options};
use inferrum::{Device, Precision, Session, SessionBuilder};

use crate::quantity;

/// Threads that a session takes at most.
const MOST_THREADS: usize = 1024;

/// How a session is made.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Session")]
pub(crate) struct SessionArgs {
    /// Precision to compute in: f32 (as the model says), tf32, f16, bf16, auto
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    pub(crate) precision: Precision,
    /// Threads of one run [default: as many as the process may use]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
    /// Memory that weights and one run may take, such as 500M or 2G [default: the machine's]
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub(crate) max_memory: Option<usize>,
    /// Refuse the model if the device declines nodes, which the processor runs otherwise
    #[arg(long)]
    pub(crate) strict: bool,
}

impl SessionArgs {
    /// Settings of a session on `device`.
    pub(crate) fn builder(&self, device: &Device) -> SessionBuilder {
        let mut builder =
            Session::builder().device(device.clone()).precision(self.precision).strict(self.strict);
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(bytes) = self.max_memory {
            builder = builder.max_memory(bytes);
        }
        builder
    }
}

/// A number of things of which there is at least one.
pub(crate) fn from_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number from 1 on".into()),
        Ok(threads) => Ok(threads),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match from_one(text) {
        Ok(threads) if threads <= MOST_THREADS => Ok(threads),
        _ => Err(format!("expected a number from 1 to {MOST_THREADS}")),
    }
}

/// `1000`, `500M`, `2G`: units of 1024.
fn size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit() && c != '.') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let power = match unit.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err("expected bytes, such as 1000000, 500M or 2G".into()),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a number of bytes, such as 500M".to_owned())?;
    Ok((number * 1024f64.powi(power)) as usize)
}

/// Loads the model in a file; the inputs in `given` are not taken from the file's defaults.
pub(crate) fn load(path: &Path, given: &[String]) -> Result<Model> {
    check(path)?;
    let model = onnx::load(path)?;
    let names = model.overridable.iter().map(|&id| model.graph.value(id).name.clone());
    let overridden: Vec<String> = names.filter(|name| given.contains(name)).collect();
    if overridden.is_empty() { Ok(model) } else { Ok(onnx::load_with(path, &Options { overridden })?) }
}

/// That `path` is a file.
pub(crate) fn check(path: &Path) -> Result<()> {
    let about = std::fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    if about.is_dir() {
        let inside = path.join("model.onnx");
        if inside.is_file() {
            bail!("{} is a folder; give the model in it: {}", path.display(), inside.display());
        }
        bail!("{} is a folder; give a model file", path.display());
    }
    Ok(())
}

/// The graph in which every value is an output, and the names of the outputs that it had.
pub(crate) fn with_every_value(mut graph: Graph) -> Graph {
    let produced: Vec<_> =
        graph.nodes().iter().flat_map(|node| node.outputs.iter().flatten().copied()).collect();
    graph.outputs = produced;
    graph
}

/// One line on the device of a session: `cpu: AMD EPYC 7B13, avx2, 2 threads`.
pub(crate) fn device_line(session: &Session) -> String {
    let info = session.device();
    let mut line = format!("{}: {}", info.id, info.name);
    for (name, value) in &info.details {
        match name.as_str() {
            "threads" => {
                let s = value.parse().map_or("s", quantity::plural);
                line.push_str(&format!(", {value} thread{s}"));
            }
            "instruction set" => line.push_str(&format!(", {value}")),
            _ => {}
        }
    }
    line
}

/// The file's name, for headings.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The file of labels next to a model: the same name, ending in `.txt`.
pub(crate) fn labels_beside(model: &Path) -> Option<PathBuf> {
    Some(model.with_extension("txt")).filter(|path| path.is_file())
}

/// What the processor runs in place of a session's device, and why: `3 MaxPool: no GPU kernel for MaxPool`.
pub(crate) fn declined(session: &Session) -> Vec<String> {
    let placement = session.placement();
    let device = &session.device().id;
    let mut groups: Vec<(String, usize)> = Vec::new();
    for node in placement.declined().filter(|node| node.device != *device) {
        let why = format!("{}: {}", node.op, node.reason.as_deref().unwrap_or_default());
        match groups.iter_mut().find(|(group, _)| *group == why) {
            Some((_, count)) => *count += 1,
            None => groups.push((why, 1)),
        }
    }
    groups.into_iter().map(|(why, count)| format!("{count} {why}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!(size("1.5k"), Ok(1536));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert!(size("2 apples").is_err() && size("").is_err());
        assert!(threads("1025").is_err() && threads("0").is_err() && threads("1024") == Ok(1024));
        assert!(from_one("0").is_err() && from_one("x").is_err() && from_one("-1").is_err());
    }
}
