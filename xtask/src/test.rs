//! Everything that must hold before a change lands.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::gpu_forms;
use crate::provision::{self, step};

/// Runs all checks, stopping at the first that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    provision::run()?;
    check("formatting", formatting()?)?;
    check(
        "lints",
        cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"]),
    )?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    docs.env("RUSTDOCFLAGS", "--deny warnings");
    check("docs", docs)?;
    check("tests", cargo(&["test", "--workspace", "--all-features"]))?;
    let built = cargo(&["test", "--workspace", "--all-features", "--no-run"]);
    for (name, command) in gpu_forms::commands(built)? {
        check(&name, command)?;
    }
    Ok(())
}

/// All files, since `cargo fmt` does not see those that a macro declares, as the tables of operators and kernels do.
fn formatting() -> anyhow::Result<Command> {
    let mut files = Vec::new();
    for folder in ["benches", "crates", "fuzz", "tests", "xtask"] {
        sources(Path::new(folder), &mut files)?;
    }
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", "2024"]).args(files);
    Ok(rustfmt)
}

/// Adds the Rust files in and below a folder.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

fn check(name: &str, mut command: Command) -> anyhow::Result<()> {
    println!("== {name}");
    step(&mut command)
}
