//! Runs test cases in ONNX's layout by the operators' references and compares with the expected outputs.
//!
//! `cargo run -p inferrum --example reference_suite -- DIR... [--filter TEXT]`, where each DIR is a case (it has a
//! `model.onnx`) or a folder of cases, and TEXT must be part of a case's name.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use inferrum::agreement::{Rule, Tolerance, compare};
use inferrum_graph::interpret;
use inferrum_onnx::{Case, CaseError, LoadErrorKind};

/// How a case went.
enum Outcome {
    Passed,
    /// Operators that do not exist.
    Unknown(Vec<String>),
    Failed(String),
}

fn main() -> ExitCode {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut filter = String::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--filter" {
            filter = args.next().unwrap_or_default();
        } else {
            folders.push(arg.into());
        }
    }
    // A panic is a failure of its case; its message is printed with the case.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut passed, mut failed) = (0, 0);
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    for case in folders.iter().flat_map(|folder| cases(folder)).filter(|case| name(case).contains(&filter)) {
        match catch_unwind(AssertUnwindSafe(|| run(&case)))
            .unwrap_or_else(|panic| Outcome::Failed(text(&*panic)))
        {
            Outcome::Passed => passed += 1,
            Outcome::Unknown(operators) => {
                failed += 1;
                operators.into_iter().for_each(|operator| *unknown.entry(operator).or_default() += 1);
            }
            Outcome::Failed(reason) => {
                failed += 1;
                println!("FAILED {}: {reason}", name(&case));
            }
        }
    }
    for (operator, count) in &unknown {
        println!("unknown operator {operator}: {count} cases");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The case in a folder, or the cases in the folders below it.
fn cases(folder: &Path) -> Vec<PathBuf> {
    if folder.join("model.onnx").is_file() {
        return vec![folder.to_owned()];
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        eprintln!("{} cannot be read", folder.display());
        return Vec::new();
    };
    let mut below: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("model.onnx").is_file())
        .collect();
    below.sort();
    below
}

fn name(case: &Path) -> String {
    case.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("PANIC: {}", text.unwrap_or("no message"))
}

fn run(folder: &Path) -> Outcome {
    let case = match Case::load(folder) {
        Ok(case) => case,
        Err(CaseError::Load(error)) => {
            return match error.kind {
                LoadErrorKind::UnknownOperators(operators) => Outcome::Unknown(
                    operators
                        .iter()
                        .map(|operator| format!("{}.{}", operator.domain, operator.op_type))
                        .collect(),
                ),
                kind => Outcome::Failed(kind.to_string()),
            };
        }
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let rule = case.expectation.map_or(Rule::ONNX_SUITE, |expectation| Rule {
        tolerance: Tolerance::OfGreatest(expectation.of_greatest),
        off_by_one: true,
    });
    for set in &case.sets {
        let got = match interpret(&case.model.graph, set.inputs.clone()) {
            Ok(got) => got,
            Err(error) => return Outcome::Failed(format!("{}: {error}", set.name)),
        };
        for (i, (got, want)) in got.iter().zip(&set.outputs).enumerate() {
            if let Err(difference) = compare(got, want, &rule) {
                return Outcome::Failed(format!("{} output {i}: {difference}", set.name));
            }
        }
    }
    if case.sets.is_empty() { Outcome::Failed("it has no test data".into()) } else { Outcome::Passed }
}
