//! Runs cases in ONNX's test layout.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use inferrum::agreement::{Rule, Tolerance, compare};
use inferrum::{Session, SessionBuilder};
use inferrum_onnx::{Case, Expectation};
use rayon::prelude::*;

/// The result of each case by its name.
pub type Results = BTreeMap<String, Result<(), String>>;

/// Runs every case in a session made by `builder`.
pub fn run(cases: &[PathBuf], builder: &SessionBuilder) -> Results {
    run_within(cases, builder, 1.0)
}

/// As [`run`]; the tolerance that a case brings along is `factor` times as wide.
pub fn run_within(cases: &[PathBuf], builder: &SessionBuilder, factor: f64) -> Results {
    cases.par_iter().map(|folder| (name(folder), guarded(folder, builder, factor))).collect()
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A panic is the failure of its case, not of the test.
fn guarded(folder: &Path, builder: &SessionBuilder, factor: f64) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| case(folder, builder, factor)))
        .unwrap_or_else(|_| Err("it panicked".into()))
}

fn case(folder: &Path, builder: &SessionBuilder, factor: f64) -> Result<(), String> {
    let case = Case::load(folder).map_err(|error| error.to_string())?;
    if case.sets.is_empty() {
        return Err("it has no test data".into());
    }
    let rule = rule(case.expectation, factor);
    let session: Session = builder.clone().build(case.model.graph).map_err(|error| error.to_string())?;
    for set in &case.sets {
        let got =
            session.run(set.inputs.clone()).map_err(|error| format!("{}: {error}", set.name))?.into_values();
        if got.len() != set.outputs.len() {
            return Err(format!("{}: {} outputs, expected {}", set.name, got.len(), set.outputs.len()));
        }
        for (index, (got, want)) in got.iter().zip(&set.outputs).enumerate() {
            compare(got, want, &rule).map_err(|error| format!("{} output {index}: {error}", set.name))?;
        }
    }
    Ok(())
}

/// A case's own tolerance, or the ONNX suite's.
fn rule(expectation: Option<Expectation>, factor: f64) -> Rule {
    expectation.map_or(Rule::ONNX_SUITE, |expectation| Rule {
        tolerance: Tolerance::OfGreatest(factor * expectation.of_greatest),
        off_by_one: true,
    })
}
