//! Brings what the tests need: drivers of GPUs, a Python venv with the `onnx` package, and from that the node suite as files.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Provisions; what is there already is left alone.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::drivers::provision();
    let corpus = std::env::var_os("INFERRUM_CORPUS").unwrap_or_else(|| "../shared/corpus".into());
    if Path::new(&corpus).join("onnx_backend/node").is_dir() {
        println!("provision: the node suite is in {}", Path::new(&corpus).display());
        return Ok(());
    }
    let python = Path::new(".venv/bin/python");
    if !python.is_file() {
        create_venv()?;
    }
    if !Path::new("target/onnx-suite/node").is_dir() {
        println!("provision: writing the ONNX node suite to target/onnx-suite");
        step(Command::new(python).args(["tests/node_suite.py", "target/onnx-suite/node"]))?;
    }
    Ok(())
}

/// Makes `.venv` with the packages of `tests/requirements.txt`.
fn create_venv() -> anyhow::Result<()> {
    println!("provision: making .venv with tests/requirements.txt");
    if step(Command::new("python3").args(["-m", "venv", ".venv"])).is_err() {
        // Debian keeps venv in a package of its own.
        println!("provision: installing python3-venv");
        step(Command::new("apt-get").arg("update"))?;
        step(Command::new("apt-get").args(["install", "-y", "python3-venv"]))?;
        step(Command::new("python3").args(["-m", "venv", "--clear", ".venv"]))?;
    }
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "tests/requirements.txt"];
    step(Command::new(".venv/bin/python").args(pip))
}

/// Runs a command to its end.
pub(crate) fn step(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be started"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
