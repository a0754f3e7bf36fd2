//! `inferrum run`: runs a model once and prints its outputs.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use inferrum::{Device, Outputs, Profile, RunOptions, Session, Tensor, TransferLog, Transfers, Value};
use serde_json::{Map, Value as Json, json};

use crate::inputs::{Given, InputArgs};
use crate::labels::Labels;
use crate::model::{self, SessionArgs, from_one};
use crate::table::{Column, Table};
use crate::{Outcome, npz, quantity, style, top, trace, transfers, value_json, value_text};

/// Classes printed where labels are there and nothing else is asked for.
const TOP: usize = 5;
/// Samples of a batch whose classes are printed.
const SAMPLES: usize = 8;

/// Runs a model and prints its outputs
///
/// Without inputs, random ones of the right types and shapes are made up, and that is said.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The model (ONNX)
    model: PathBuf,
    /// Writes the outputs to a .npz file, by name
    #[arg(short, long, value_name = "FILE.npz")]
    output: Option<PathBuf>,
    /// Prints the K most probable classes of each output that has classes
    #[arg(long, value_name = "K", value_parser = from_one, allow_negative_numbers = true)]
    top: Option<usize>,
    /// Names of the classes, one a line [default: the file beside the model with its name, ending in .txt]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Profiles a second run: a Chrome trace in this file, and a table of the slowest operators
    #[arg(long, value_name = "TRACE.json")]
    profile: Option<PathBuf>,
    /// Device: auto, cpu, or another that `inferrum devices` lists
    #[arg(short, long, default_value = "auto", help_heading = "Session")]
    device: Device,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    inputs: InputArgs,
}

const EXAMPLES: &str = "\
Examples:
  inferrum run digits.onnx --input seven.png --top 3
  inferrum run resnet50.onnx -i photo.jpg --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  inferrum run bert.onnx --inputs tokens.npz --output hidden.npz --threads 4
  inferrum run model.onnx -i ids=ids.npy -i mask=mask.json --format json
  inferrum run model.onnx --shape x=8x3x224x224 --profile trace.json";

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Format {
    /// For the eye.
    Table,
    /// One JSON object: device, times, and outputs with all their elements.
    Json,
}

/// A finished run.
struct Done {
    session: Session,
    given: Given,
    outputs: Outputs,
    load: Duration,
    run: Duration,
    transfers: Transfers,
}

/// Runs the command.
pub(crate) fn execute(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    model::check(&args.model)?;
    let labels = Labels::find(args.labels.as_deref(), &args.model)?;
    let start = Instant::now();
    let model = model::load(&args.model, &args.inputs.names())?;
    let session = args.session.builder(&args.device).build(model.graph)?;
    let load = start.elapsed();
    let given = args.inputs.resolve(session.inputs(), None, |facts| session.plan(facts))?;
    let start = Instant::now();
    let log = TransferLog::new();
    let options = RunOptions { transfers: Some(&log), ..RunOptions::default() };
    let outputs = session.run_with(given.inputs(), options).map_err(|error| given.explain(error))?;
    let done = Done { run: start.elapsed(), session, given, outputs, load, transfers: log.transfers() };
    if let Some(path) = &args.output {
        npz::write_npz(path, done.outputs.iter())?;
    }
    let spans = match &args.profile {
        None => Vec::new(),
        Some(path) => {
            // The second run finds everything made that the first had to make.
            let profile = Profile::new();
            done.session.run_with(
                done.given.inputs(),
                RunOptions { profile: Some(&profile), ..RunOptions::default() },
            )?;
            trace::write(path, &model::file_name(&args.model), &profile.spans())?;
            profile.spans()
        }
    };
    match args.format {
        Format::Json => print_json(args, &done, labels.as_ref(), out)?,
        Format::Table => {
            print_table(args, &done, labels.as_ref(), out)?;
            if let Some(path) = &args.profile {
                trace::summarise(out, &spans)?;
                writeln!(
                    out,
                    "\ntrace in {}; open it in https://ui.perfetto.dev or chrome://tracing",
                    path.display()
                )?;
            }
        }
    }
    Ok(Outcome::Good)
}

fn print_table(args: &Args, done: &Done, labels: Option<&Labels>, out: &mut dyn Write) -> Result<()> {
    let (heading, faint) = (style::HEADING, style::FAINT);
    writeln!(
        out,
        "{heading}{}{heading:#} on {}",
        model::file_name(&args.model),
        model::device_line(&done.session)
    )?;
    if let Some(choice) = done.session.choice() {
        writeln!(out, "  {faint}device auto: {choice}{faint:#}")?;
    }
    for note in &done.given.notes {
        writeln!(out, "  {note}")?;
    }
    writeln!(out, "  load {}, run {}", quantity::time(done.load), quantity::time(done.run))?;
    let declined = model::declined(&done.session);
    if !declined.is_empty() {
        writeln!(out, "  {} declines, so that the processor runs:", done.session.device().id)?;
        declined.iter().try_for_each(|line| writeln!(out, "    {line}"))?;
    }
    transfers::lines(&done.transfers).iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    if let Some(path) = &args.output {
        writeln!(out, "  outputs in {}", path.display())?;
    }
    let wanted = args.top.is_some() || labels.is_some_and(|labels| labels.asked_for);
    let ranked =
        |(_, value): (_, &Value)| value.as_tensor().is_some_and(|tensor| top::classes(tensor).is_some());
    if wanted && !done.outputs.iter().any(ranked) {
        writeln!(
            out,
            "  no output holds scores of classes ([classes] or [samples, classes]), so none is ranked"
        )?;
    }
    for (name, value) in done.outputs.iter() {
        writeln!(out)?;
        match ranking(args, value, labels) {
            Some(ranking) => print_ranking(out, name, value, &ranking, labels)?,
            None => value_text::write(out, name, value)?,
        }
    }
    Ok(())
}

/// The best classes of an output, if the user asked for them, or if there is a label for each class.
fn ranking(args: &Args, value: &Value, labels: Option<&Labels>) -> Option<top::Ranking> {
    let tensor = value.as_tensor()?;
    let labels = fitting(tensor, labels);
    let count = args.top.or(labels.map(|_| TOP))?;
    top::rank(tensor, count, labels)
}

/// Labels for an output: those that the user named, or found ones if there are as many as classes.
fn fitting<'a>(tensor: &Tensor, labels: Option<&'a Labels>) -> Option<&'a Labels> {
    let classes = top::classes(tensor)?;
    labels.filter(|labels| labels.asked_for || labels.len() == classes)
}

fn print_ranking(
    out: &mut dyn Write,
    name: &str,
    value: &Value,
    ranking: &top::Ranking,
    labels: Option<&Labels>,
) -> Result<()> {
    let heading = style::HEADING;
    writeln!(out, "{heading}{name}{heading:#}: {}", value.describe())?;
    for note in ranking.notes() {
        writeln!(out, "  {note}")?;
    }
    if let Some(labels) = value.as_tensor().and_then(|tensor| fitting(tensor, labels)) {
        writeln!(out, "  labels from {}", labels.file.display())?;
        let classes = value.as_tensor().and_then(top::classes).unwrap_or(0);
        if labels.len() != classes {
            writeln!(out, "  there are {} labels for {classes} classes", labels.len())?;
        }
    }
    let several = ranking.samples.len() > 1;
    for (index, sample) in ranking.samples.iter().take(SAMPLES).enumerate() {
        if several {
            writeln!(out, "  sample {index}")?;
        }
        let mut table = Table::new(&[("", Column::Number), ("", Column::Text), ("", Column::Number)]);
        for class in sample {
            let percent = percent(class.probability);
            table.row([class.index.to_string(), class.label.clone().unwrap_or_default(), percent]);
        }
        table.write(out)?;
    }
    if let Some(more) = ranking.samples.len().checked_sub(SAMPLES).filter(|&more| more > 0) {
        writeln!(out, "  and {more} more samples")?;
    }
    Ok(())
}

/// `99.97 %`.
fn percent(probability: f64) -> String {
    match 100.0 * probability {
        tiny if tiny > 0.0 && tiny < 0.01 => "< 0.01 %".into(),
        percent => format!("{percent:.2} %"),
    }
}

fn print_json(args: &Args, done: &Done, labels: Option<&Labels>, out: &mut dyn Write) -> Result<()> {
    let mut outputs = Map::new();
    for (name, value) in done.outputs.iter() {
        let mut json = value_json::value(value)?;
        if let (Some(ranking), Json::Object(fields)) = (ranking(args, value, labels), &mut json) {
            fields.insert("top".into(), ranking.json());
            fields.insert("softmax_applied".into(), (ranking.scale == top::Scale::Logits).into());
        }
        outputs.insert(name.to_owned(), json);
    }
    let device = done.session.device();
    let json = json!({
        "model": args.model.display().to_string(), "device": device.id, "device_name": device.name,
        "choice": done.session.choice(),
        "load_ms": done.load.as_secs_f64() * 1e3, "run_ms": done.run.as_secs_f64() * 1e3,
        "declined": model::declined(&done.session), "transfers": transfers::json(&done.transfers),
        "inputs": done.given.notes, "outputs": outputs,
    });
    serde_json::to_writer(&mut *out, &json)?;
    writeln!(out)?;
    Ok(())
}
