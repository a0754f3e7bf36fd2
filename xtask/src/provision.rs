//! Brings what the tests need: drivers of GPUs, a Python venv with NVRTC and the `onnx` package, and from that the node suite as files.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// NVIDIA's compiler of kernels for the tests that compile all of them; there is a package for these systems only.
const NVRTC: Option<&str> =
    if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        Some("nvidia-cuda-nvrtc==13.0.*")
    } else {
        None
    };

const PYTHON: &str = ".venv/bin/python";

/// Provisions; what is there already is left alone.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::drivers::provision();
    let corpus = std::env::var_os("INFERRUM_CORPUS").unwrap_or_else(|| "../shared/corpus".into());
    let has_suite = Path::new(&corpus).join("onnx_backend/node").is_dir();
    if has_suite {
        println!("provision: the node suite is in {}", Path::new(&corpus).display());
    } else {
        packages()?;
    }
    if let Some(package) = NVRTC
        && let Err(error) = nvrtc(package)
    {
        println!("provision: no {package} ({error:#}): tests that compile CUDA kernels skip");
    }
    if !has_suite && !Path::new("target/onnx-suite/node").is_dir() {
        println!("provision: writing the ONNX node suite to target/onnx-suite");
        step(Command::new(PYTHON).args(["tests/node_suite.py", "target/onnx-suite/node"]))?;
    }
    Ok(())
}

/// The packages of `tests/requirements.txt` in `.venv`.
fn packages() -> anyhow::Result<()> {
    if lists("onnx") {
        return Ok(());
    }
    venv()?;
    println!("provision: bringing tests/requirements.txt into .venv");
    pip(&["-r", "tests/requirements.txt"])
}

/// The compiler of CUDA kernels in `.venv`, alone where nothing else of it is needed.
fn nvrtc(package: &str) -> anyhow::Result<()> {
    if lists("nvidia/cu13/lib/libnvrtc.so.13") {
        return Ok(());
    }
    venv()?;
    println!("provision: bringing {package} into .venv");
    pip(&["--no-deps", package])
}

/// Whether the packages in `.venv` have a file or folder.
fn lists(path: &str) -> bool {
    let versions = std::fs::read_dir(".venv/lib").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("site-packages").join(path)).any(|it| it.exists())
}

/// Makes `.venv` if it is not there.
fn venv() -> anyhow::Result<()> {
    if Path::new(PYTHON).is_file() {
        return Ok(());
    }
    println!("provision: making .venv");
    if step(Command::new("python3").args(["-m", "venv", ".venv"])).is_err() {
        // Debian keeps venv in a package of its own.
        println!("provision: installing python3-venv");
        step(Command::new("apt-get").arg("update"))?;
        step(Command::new("apt-get").args(["install", "-y", "python3-venv"]))?;
        step(Command::new("python3").args(["-m", "venv", "--clear", ".venv"]))?;
    }
    Ok(())
}

fn pip(what: &[&str]) -> anyhow::Result<()> {
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    step(Command::new(PYTHON).args(install).args(what))
}

/// Runs a command to its end.
pub(crate) fn step(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be started"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
