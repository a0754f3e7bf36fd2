//! Everything that must hold before a change lands.

use std::process::Command;

use crate::provision::{self, step};

/// Runs all checks, stopping at the first that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    provision::run()?;
    check("formatting", cargo(&["fmt", "--all", "--check"]))?;
    check(
        "lints",
        cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"]),
    )?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    docs.env("RUSTDOCFLAGS", "--deny warnings");
    check("docs", docs)?;
    check("tests", cargo(&["test", "--workspace", "--all-features"]))
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
