//! `inferrum test`: runs folders in the layout of ONNX's backend tests.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use inferrum::agreement::{Errors, Rule, Tolerance, WIDER_ON_DEVICES, compare};
use inferrum::graph::interpret;
use inferrum::onnx::{Case, CaseError, Expectation, LoadErrorKind, Set};
use inferrum::{Device, Session, Value};
use serde_json::{Value as Json, json};

use crate::model::SessionArgs;
use crate::progress::Progress;
use crate::{Outcome, quantity, style};

/// Folders within folders that are searched.
const DEEPEST: usize = 8;

/// Runs models with stored inputs and compares with their stored outputs
///
/// A folder holds model.onnx and test_data_set_*/input_*.pb and output_*.pb; others are searched for such folders. A
/// model passes if all its sets do. Tolerance: that of the folder's META.json if there is one (four times that on a
/// device other than the processor), otherwise the ONNX suite's (rtol 1e-3, atol 1e-7).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folders with a model and its test data, or folders of such
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// |got - want| <= ATOL + RTOL * |want| for each element
    #[arg(long, value_name = "RTOL", value_parser = tolerance, allow_negative_numbers = true)]
    rtol: Option<f64>,
    /// See --rtol
    #[arg(long, value_name = "ATOL", value_parser = tolerance, allow_negative_numbers = true)]
    atol: Option<f64>,
    /// max|got - want| <= X * max|want| for each output; 8-bit integers may be off by one
    #[arg(long, value_name = "X", conflicts_with_all = ["rtol", "atol"], value_parser = tolerance, allow_negative_numbers = true)]
    tolerance: Option<f64>,
    /// Runs only folders whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Writes the result of each folder to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Device: auto, cpu, or another that `inferrum devices` lists
    #[arg(short, long, default_value = "auto", help_heading = "Session")]
    device: Target,
    #[command(flatten)]
    session: SessionArgs,
}

const EXAMPLES: &str = "\
Examples:
  inferrum test models/mobilenet
  inferrum test onnx/backend/test/data/node --device cpu
  inferrum test models/* --tolerance 1e-3 --json results.json
  inferrum test suite --filter softmax --rtol 1e-4 --atol 1e-6";

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 => Ok(value),
        _ => Err("expected a number from 0 on".into()),
    }
}

/// What computes.
#[derive(Clone, Debug)]
enum Target {
    Device(Device),
    /// The operators' references.
    Reference,
}

impl FromStr for Target {
    type Err = <Device as FromStr>::Err;

    fn from_str(text: &str) -> Result<Target, Self::Err> {
        if text == "reference" { Ok(Target::Reference) } else { text.parse().map(Target::Device) }
    }
}

/// How a folder fared.
struct Report {
    folder: PathBuf,
    outcome: CaseOutcome,
    sets: usize,
    errors: Errors,
    time: Duration,
}

enum CaseOutcome {
    Passed,
    /// Why.
    Failed(String),
    /// Why.
    Skipped(String),
}

/// Runs the command.
pub(crate) fn execute(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let mut folders = Vec::new();
    for folder in &args.folders {
        search(folder, &mut folders)?;
    }
    if let Some(filter) = &args.filter {
        folders.retain(|folder| name(folder).contains(filter));
        if folders.is_empty() {
            bail!("no folder with a model.onnx has `{filter}` in its name, which the filter asks for");
        }
    }
    let progress = Progress::new(folders.len() as u64, "testing");
    let quiet = QuietPanics::new();
    let mut reports = Vec::with_capacity(folders.len());
    for (index, folder) in folders.into_iter().enumerate() {
        progress.at(index as u64);
        progress.say(&name(&folder));
        let report = guarded(args, folder);
        progress.suspend(|| print(out, &report))?;
        reports.push(report);
    }
    drop((quiet, progress));
    let count =
        |which: fn(&CaseOutcome) -> bool| reports.iter().filter(|report| which(&report.outcome)).count();
    let failed = count(|outcome| matches!(outcome, CaseOutcome::Failed(_)));
    let passed = count(|outcome| matches!(outcome, CaseOutcome::Passed));
    let skipped = count(|outcome| matches!(outcome, CaseOutcome::Skipped(_)));
    if let Some(path) = &args.json {
        write_json(path, &reports).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
    Ok(if failed == 0 { Outcome::Good } else { Outcome::Bad })
}

/// Adds the folder if it has a model, or those below it that have one.
fn search(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if folder.file_name().is_some_and(|name| name == "model.onnx") && folder.is_file() {
        found.push(folder.parent().unwrap_or(Path::new(".")).to_owned());
        return Ok(());
    }
    let about = std::fs::metadata(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    if !about.is_dir() {
        bail!("{} is no folder; expected one with model.onnx and test_data_set_*", folder.display());
    }
    let before = found.len();
    below(folder, 0, found).with_context(|| format!("{}: cannot be read", folder.display()))?;
    if found.len() == before {
        bail!("{} holds no model.onnx, and no folder in it does", folder.display());
    }
    Ok(())
}

fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if folder.join("model.onnx").is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    if depth == DEEPEST {
        return Ok(());
    }
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    entries.iter().filter(|path| path.is_dir()).try_for_each(|path| below(path, depth + 1, found))
}

fn name(folder: &Path) -> String {
    // `.` has no name of its own.
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Keeps panics from printing; their messages are part of the report.
struct QuietPanics(Option<PanicHook>);

type PanicHook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Sync + Send>;

/// Where the last panic was.
static PLACE: Mutex<String> = Mutex::new(String::new());

impl QuietPanics {
    fn new() -> QuietPanics {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            *PLACE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = place;
        }));
        QuietPanics(Some(before))
    }
}

impl Drop for QuietPanics {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            std::panic::set_hook(before);
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let place = PLACE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    format!("panicked at {place}: {}", text.unwrap_or("no message"))
}

/// Runs a folder; a panic is its failure, not the end.
fn guarded(args: &Args, folder: PathBuf) -> Report {
    let start = Instant::now();
    let mut report = Report {
        folder,
        outcome: CaseOutcome::Passed,
        sets: 0,
        errors: Errors::default(),
        time: Duration::ZERO,
    };
    let result = catch_unwind(AssertUnwindSafe(|| case(args, &mut report)));
    report.time = start.elapsed();
    match result {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => report.outcome = CaseOutcome::Failed(reason),
        Err(panic) => report.outcome = CaseOutcome::Failed(panicked(&*panic)),
    }
    report
}

fn case(args: &Args, report: &mut Report) -> Result<(), String> {
    let case = Case::load(&report.folder).map_err(|error| plain(error, &report.folder))?;
    if case.sets.is_empty() {
        report.outcome = CaseOutcome::Skipped("it has no test_data_set_*".into());
        return Ok(());
    }
    let expectation = case.expectation;
    let mut factor = 1.0;
    let run: Box<dyn Fn(&Set) -> Result<Vec<Value>, String>> = match &args.device {
        Target::Reference => {
            let graph = case.model.graph;
            Box::new(move |set| interpret(&graph, set.inputs.clone()).map_err(|error| error.to_string()))
        }
        Target::Device(device) => {
            let session: Session =
                args.session.builder(device).build(case.model.graph).map_err(|error| error.to_string())?;
            if session.device().id != "cpu" {
                factor = WIDER_ON_DEVICES;
            }
            Box::new(move |set| {
                let outputs = session.run(set.inputs.clone()).map_err(|error| error.to_string())?;
                Ok(outputs.into_values())
            })
        }
    };
    let rule = rule(args, expectation, factor);
    for set in &case.sets {
        let got = run(set).map_err(|error| format!("{}: {error}", set.name))?;
        if got.len() != set.outputs.len() {
            return Err(format!("{}: expected {} outputs, got {}", set.name, set.outputs.len(), got.len()));
        }
        for (index, (got, want)) in got.iter().zip(&set.outputs).enumerate() {
            let errors = compare(got, want, &rule)
                .map_err(|difference| format!("{} output {index}: {difference}", set.name))?;
            report.errors.absolute = report.errors.absolute.max(errors.absolute);
            report.errors.relative = report.errors.relative.max(errors.relative);
        }
        report.sets += 1;
    }
    Ok(())
}

/// An error without the name of the model's file, which the report's line already has.
fn plain(error: CaseError, folder: &Path) -> String {
    match error {
        CaseError::Load(error) if error.file == folder.join("model.onnx").display().to_string() => {
            match error.kind {
                LoadErrorKind::UnknownOperators(operators) => {
                    let names: Vec<String> = operators.iter().map(ToString::to_string).collect();
                    format!("unknown operators: {}", names.join(", "))
                }
                kind => kind.to_string(),
            }
        }
        error => error.to_string(),
    }
}

/// What the command line says, else the folder, by a factor, else the ONNX suite.
fn rule(args: &Args, expectation: Option<Expectation>, factor: f64) -> Rule {
    let of_greatest = |x: f64| Rule { tolerance: Tolerance::OfGreatest(x), off_by_one: true };
    let Tolerance::Elementwise { relative, absolute } = Rule::ONNX_SUITE.tolerance else {
        return Rule::ONNX_SUITE;
    };
    match (args.tolerance, args.rtol, args.atol, expectation) {
        (Some(x), ..) => of_greatest(x),
        (None, None, None, Some(expectation)) => of_greatest(factor * expectation.of_greatest),
        (None, None, None, None) => Rule::ONNX_SUITE,
        (None, rtol, atol, _) => Rule {
            tolerance: Tolerance::Elementwise {
                relative: rtol.unwrap_or(relative),
                absolute: atol.unwrap_or(absolute),
            },
            off_by_one: false,
        },
    }
}

fn print(out: &mut dyn Write, report: &Report) -> Result<()> {
    let (good, bad, faint) = (style::GOOD, style::BAD, style::FAINT);
    let folder = report.folder.display();
    match &report.outcome {
        CaseOutcome::Passed if log::log_enabled!(target: "inferrum", log::Level::Info) => writeln!(
            out,
            "{good}passed{good:#}  {folder}  {faint}{}, greatest error {} absolute, {} relative{faint:#}",
            quantity::time(report.time),
            quantity::error(report.errors.absolute),
            quantity::error(report.errors.relative),
        )?,
        CaseOutcome::Passed => return Ok(()),
        CaseOutcome::Failed(reason) => writeln!(out, "{bad}FAILED{bad:#}  {folder}: {reason}")?,
        CaseOutcome::Skipped(reason) => writeln!(out, "{faint}skipped{faint:#} {folder}: {reason}")?,
    }
    out.flush()?;
    Ok(())
}

fn write_json(path: &Path, reports: &[Report]) -> Result<()> {
    let finite = |x: f64| Some(x).filter(|x| x.is_finite());
    let report = |report: &Report| -> (String, Json) {
        let (outcome, reason) = match &report.outcome {
            CaseOutcome::Passed => ("passed", None),
            CaseOutcome::Failed(reason) => ("failed", Some(reason)),
            CaseOutcome::Skipped(reason) => ("skipped", Some(reason)),
        };
        let json = json!({
            "folder": report.folder.display().to_string(), "outcome": outcome, "reason": reason, "sets": report.sets,
            "max_absolute_error": finite(report.errors.absolute), "max_relative_error": finite(report.errors.relative),
            "ms": report.time.as_secs_f64() * 1e3,
        });
        (outcome.to_owned(), json)
    };
    let mut counts: BTreeMap<String, usize> =
        ["passed", "failed", "skipped"].map(|name| (name.into(), 0)).into();
    let mut cases = Vec::with_capacity(reports.len());
    for (outcome, json) in reports.iter().map(report) {
        *counts.entry(outcome).or_default() += 1;
        cases.push(json);
    }
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(
        &mut file,
        &json!({ "passed": counts["passed"], "failed": counts["failed"], "skipped": counts["skipped"], "cases": cases }),
    )?;
    writeln!(file)?;
    Ok(file.flush()?)
}
