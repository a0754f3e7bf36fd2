//! Packs what a machine with a GPU needs to test and measure Inferrum without a Rust toolchain: programs, cases, scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::provision::step;

/// Where the bundle is made.
const BUNDLE: &str = "target/gpu-bundle";

/// Bytes of the whole at most.
const MOST_BYTES: u64 = 50 << 20;

/// Bytes of the models at most, before they are packed; the smallest go first.
const MODELS_BYTES: u64 = 30 << 20;

/// Programs: a package, the arguments that choose one of its targets, and how Cargo names what it makes.
const PROGRAMS: [(&str, &[&str], &str); 6] = [
    ("inferrum-cli", &["--bin", "inferrum"], "inferrum"),
    ("inferrum-cuda", &["--lib"], "inferrum_cuda"),
    ("inferrum-wgpu", &["--lib"], "inferrum_wgpu"),
    ("inferrum-tests", &["--test", "cuda"], "cuda"),
    ("inferrum-tests", &["--test", "wgpu"], "wgpu"),
    ("inferrum-tests", &["--test", "resident_cache"], "resident_cache"),
];

/// What runs there.
const SCRIPTS: [&str; 4] = ["run.sh", "run.py", "side_by_side.py", "models.py"];

/// Makes the bundle.
///
/// # Errors
/// Something cannot be built, found or packed, or the whole is too large.
pub(crate) fn make() -> anyhow::Result<()> {
    let bundle = Path::new(BUNDLE);
    if bundle.exists() {
        fs::remove_dir_all(bundle)?;
    }
    let content = bundle.join("content");
    fs::create_dir_all(content.join("bin"))?;
    for (package, target, name) in PROGRAMS {
        let built = build(package, target)?;
        let to = content.join("bin").join(name);
        fs::copy(&built, &to).with_context(|| format!("{} cannot be copied", built.display()))?;
    }
    expectations(&content)?;
    corpus(&content)?;
    // xz is on every machine that has Python.
    let packed = bundle.join("content.tar.xz");
    step(
        Command::new("tar")
            .env("XZ_OPT", "-6 -T0")
            .args(["--create", "--xz", "--sort=name", "--owner=0", "--group=0", "--file"])
            .arg(&packed)
            .arg("--directory")
            .arg(&content)
            .arg("."),
    )?;
    fs::remove_dir_all(&content)?;
    for script in SCRIPTS {
        fs::copy(Path::new("benches/gpu").join(script), bundle.join(script))?;
    }
    let commit = Command::new("git").args(["rev-parse", "HEAD"]).output()?.stdout;
    fs::write(bundle.join("COMMIT"), commit)?;
    let bytes = size(bundle)?;
    println!("{BUNDLE}: {:.1} MB", bytes as f64 / 1e6);
    if bytes > MOST_BYTES {
        bail!("the bundle has {bytes} bytes, at most {MOST_BYTES} may travel");
    }
    Ok(())
}

/// Builds a program without symbols; gives its place.
fn build(package: &str, target: &[&str]) -> anyhow::Result<PathBuf> {
    println!("== {package} {}", target.join(" "));
    let test = target[0] != "--bin";
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(if test { "test" } else { "build" }).args(["--profile", "bundle", "--package", package]);
    cargo.args(target).arg("--message-format=json-render-diagnostics");
    if test {
        cargo.arg("--no-run");
    }
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("{package} cannot be built");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let made = text.lines().rev().find_map(executable).map(PathBuf::from);
    made.with_context(|| format!("Cargo names no program of {package}"))
}

/// The program that one of Cargo's messages is about.
fn executable(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("\"executable\":\"")?;
    rest.split_once('"').map(|(path, _)| path)
}

/// What the tests read of the repository, where they look for it.
fn expectations(content: &Path) -> anyhow::Result<()> {
    let to = content.join("repository/tests/expectations");
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir("tests/expectations")? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The node suite, and the smallest models.
fn corpus(content: &Path) -> anyhow::Result<()> {
    let corpus =
        PathBuf::from(std::env::var_os("INFERRUM_CORPUS").unwrap_or_else(|| "../shared/corpus".into()));
    let to = content.join("corpus");
    let suite = ["onnx_backend/node", "../../target/onnx-suite/node"].map(|folder| corpus.join(folder));
    match suite.iter().find(|folder| folder.is_dir()) {
        Some(suite) => copy(suite, &to.join("onnx_backend/node"))?,
        None => bail!("no node suite: cargo xtask provision brings it"),
    }
    let Ok(models) = fs::read_dir(corpus.join("models")) else {
        println!("no models in {}: the bundle has none", corpus.display());
        return Ok(());
    };
    let mut models: Vec<(u64, PathBuf)> = models
        .map(|model| {
            let path = model?.path();
            Ok((size(&path)?, path))
        })
        .collect::<anyhow::Result<_>>()?;
    models.sort();
    let all = models.len();
    let mut sum = 0;
    models.retain(|(bytes, _)| {
        sum += bytes;
        sum <= MODELS_BYTES
    });
    println!("{} of {all} models: the smallest, {} MiB together", models.len(), MODELS_BYTES >> 20);
    for (_, model) in &models {
        let name = model.file_name().context("a model has a name")?;
        copy(model, &to.join("models").join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        fs::copy(from, to)?;
    }
    Ok(())
}

fn size(path: &Path) -> anyhow::Result<u64> {
    if !path.is_dir() {
        return Ok(fs::metadata(path)?.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + size(&entry?.path())?))
}
