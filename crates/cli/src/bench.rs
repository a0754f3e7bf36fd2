//! `inferrum bench`: measures a model.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use inferrum::{Bindings, Device, Inputs, Profile, RunOptions, Session};
use serde_json::{Value as Json, json};

use crate::inputs::{Given, InputArgs};
use crate::model::{self, SessionArgs, from_one};
use crate::progress::Progress;
use crate::table::{Column, Table};
use crate::{Outcome, memory, quantity, say_error, style};

/// Runs that a measurement has at least, unless they take too long.
const FEWEST: u64 = 10;
/// A measurement may take so many times what was asked for to have the fewest runs.
const OVERTIME: f64 = 4.0;
/// The warm-up takes so much of the measurement's time, and at most half a second.
const WARM_UP: f64 = 0.1;

/// Measures load time, latency, throughput and memory of a model
///
/// Each device is warmed up, then runs for some seconds or a number of runs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The model (ONNX)
    model: PathBuf,
    /// Runs to measure
    #[arg(long, value_name = "N", conflicts_with = "seconds", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u64).range(1..))]
    iters: Option<u64>,
    /// Seconds to measure
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,
    /// Runs at the same time, on one session
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true,
        value_parser = clap::value_parser!(u64).range(1..=1024))]
    concurrency: u64,
    /// Keeps inputs and outputs in the device's memory, so that only the computation is measured
    #[arg(long)]
    resident: bool,
    /// Writes the results to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Device; give several to compare them [default: auto]
    #[arg(short, long, help_heading = "Session")]
    device: Vec<Device>,
    #[command(flatten)]
    session: SessionArgs,
    /// Extent of the first axis of inputs where the model leaves it open
    #[arg(long, value_name = "N", help_heading = "Inputs", value_parser = from_one, allow_negative_numbers = true)]
    batch: Option<usize>,
    #[command(flatten)]
    inputs: InputArgs,
}

const EXAMPLES: &str = "\
Examples:
  inferrum bench resnet50.onnx
  inferrum bench resnet50.onnx --device cpu --threads 1 --seconds 10
  inferrum bench bert.onnx --shape ids=1x128 --shape mask=1x128
  inferrum bench model.onnx --batch 8 --concurrency 4 --json result.json
  inferrum bench model.onnx --device cuda --precision f16 --resident
  inferrum bench model.onnx --inputs inputs.npz --iters 100";

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e6 => Ok(seconds),
        _ => Err("expected seconds, more than 0".into()),
    }
}

/// What was measured on one device.
struct Measured {
    device: String,
    device_line: String,
    threads: usize,
    batch: usize,
    load: Duration,
    first: Duration,
    /// Latencies, sorted.
    latencies: Vec<Duration>,
    /// The time that all runs took together.
    wall: Duration,
    peak_memory: Option<u64>,
    flops: u64,
    /// Arithmetic operations a second that the device reaches at best.
    peak: Option<f64>,
    notes: Vec<String>,
}

/// Runs the command.
pub(crate) fn execute(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    model::check(&args.model)?;
    let devices = if args.device.is_empty() { vec![Device::Auto] } else { args.device.clone() };
    let mut measured = Vec::new();
    let mut failed = false;
    for (index, device) in devices.iter().enumerate() {
        if index > 0 {
            memory::forget();
        }
        match measure(args, device) {
            Ok(result) => measured.push(result),
            Err(error) if devices.len() == 1 => return Err(error),
            Err(error) => {
                // The device's own errors name it.
                let named = error.to_string().contains(&format!("`{device}`"));
                say_error(&if named { error } else { error.context(format!("device `{device}`")) });
                failed = true;
            }
        }
    }
    if measured.is_empty() {
        bail!("no device could be measured");
    }
    print(args, &measured, out)?;
    if let Some(path) = &args.json {
        let write = || {
            let mut file = BufWriter::new(File::create(path)?);
            serde_json::to_writer_pretty(&mut file, &json(args, &measured))?;
            writeln!(file)?;
            anyhow::Ok(file.flush()?)
        };
        write().with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(if failed { Outcome::Bad } else { Outcome::Good })
}

fn measure(args: &Args, device: &Device) -> Result<Measured> {
    let start = Instant::now();
    let model = model::load(&args.model, &args.inputs.names())?;
    let session = args.session.builder(device).build(model.graph)?;
    let load = start.elapsed();
    let given = args.inputs.resolve(session.inputs(), args.batch, |facts| session.plan(facts))?;
    let inputs = given.inputs();
    let start = Instant::now();
    session.run(inputs.clone()).map_err(|error| given.explain(error))?;
    let inputs = if args.resident { resident(&session, &given)? } else { inputs };
    let first = start.elapsed();
    let flops = flops(&session, &inputs)?;
    warm_up(args, &session, &inputs)?;
    let (mut latencies, wall) = timed(args, &session, &inputs)?;
    latencies.sort();
    // Before the peak is measured, which takes memory of its own.
    let peak_memory = memory::peak();
    Ok(Measured {
        device: session.device().id.clone(),
        device_line: model::device_line(&session),
        threads: threads(&session, args),
        batch: args.batch.unwrap_or_else(|| batch(&given)),
        load,
        first,
        latencies,
        wall,
        peak_memory,
        flops,
        peak: session.measured_peak(),
        notes: given.notes,
    })
}

/// Arithmetic operations of one run, by a profile of one.
fn flops(session: &Session, inputs: &Inputs) -> Result<u64> {
    let profile = Profile::new();
    session.run_with(inputs.clone(), RunOptions { profile: Some(&profile), ..RunOptions::default() })?;
    Ok(profile.spans().iter().fold(0, |sum, span| sum.saturating_add(span.flops)))
}

/// The inputs in the device's memory.
fn resident(session: &Session, given: &Given) -> Result<Inputs> {
    given.values.iter().try_fold(Inputs::new(), |inputs, (name, value)| {
        Ok(match value.as_tensor() {
            Some(tensor) => inputs.with(name, session.upload(tensor)?),
            None => inputs.with(name, value.clone()),
        })
    })
}

/// One run, whose outputs stay on the device if that is asked for.
fn run(args: &Args, session: &Session, inputs: &Inputs) -> Result<()> {
    if !args.resident {
        session.run(inputs.clone())?;
        return Ok(());
    }
    let outputs = session.outputs().iter().map(|output| output.name.clone());
    let mut bindings = outputs.fold(Bindings::new(), Bindings::staying);
    session.run_bound(inputs.clone(), &mut bindings, RunOptions::default())?;
    Ok(())
}

fn warm_up(args: &Args, session: &Session, inputs: &Inputs) -> Result<()> {
    let time = Duration::from_secs_f64((args.seconds * WARM_UP).min(0.5));
    let start = Instant::now();
    while start.elapsed() < time {
        run(args, session, inputs)?;
    }
    Ok(())
}

/// The latency of each run, and the time of all together.
fn timed(args: &Args, session: &Session, inputs: &Inputs) -> Result<(Vec<Duration>, Duration)> {
    let progress = Progress::new(1000, "measuring");
    let done = AtomicU64::new(0);
    let start = Instant::now();
    // Whether one more run begins.
    let more = || {
        let begun = done.fetch_add(1, Ordering::Relaxed);
        let elapsed = start.elapsed().as_secs_f64();
        let (go_on, part) = match args.iters {
            Some(iters) => (begun < iters, begun as f64 / iters as f64),
            None => {
                let few = begun < FEWEST.max(args.concurrency) && elapsed < OVERTIME * args.seconds;
                (elapsed < args.seconds || few, elapsed / args.seconds)
            }
        };
        progress.at((1000.0 * part) as u64);
        go_on
    };
    let worker = || {
        let mut latencies = Vec::new();
        while more() {
            let start = Instant::now();
            run(args, session, inputs)?;
            latencies.push(start.elapsed());
        }
        anyhow::Ok(latencies)
    };
    if args.concurrency == 1 {
        return Ok((worker()?, start.elapsed()));
    }
    let parts: Vec<Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.concurrency).map(|_| scope.spawn(worker)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a run panicked")))
        };
        workers.into_iter().map(join).collect()
    });
    let wall = start.elapsed();
    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
    Ok((parts.concat(), wall))
}

fn threads(session: &Session, args: &Args) -> usize {
    let told = session.device().details.iter().find(|(name, _)| name == "threads");
    told.and_then(|(_, threads)| threads.parse().ok()).or(args.threads()).unwrap_or(1)
}

impl Args {
    fn threads(&self) -> Option<usize> {
        self.session.threads
    }
}

/// The first extent of the first input that has axes.
fn batch(given: &Given) -> usize {
    let first = given.values.iter().find_map(|(_, value)| value.as_tensor()?.shape().dims().first().copied());
    first.unwrap_or(1)
}

impl Measured {
    /// The latency below which a part of the runs stays, in milliseconds; between two runs it is interpolated.
    fn percentile(&self, part: f64) -> f64 {
        let ms = |index: usize| self.latencies.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        let place = part * self.latencies.len().saturating_sub(1) as f64;
        let below = place.floor() as usize;
        let above = place.ceil() as usize;
        ms(below) + (ms(above) - ms(below)) * place.fract()
    }

    /// Milliseconds.
    fn mean(&self) -> f64 {
        let total: Duration = self.latencies.iter().sum();
        total.as_secs_f64() * 1e3 / self.latencies.len().max(1) as f64
    }

    /// Runs a second.
    fn runs_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// Arithmetic operations a second.
    fn rate(&self) -> f64 {
        self.flops as f64 * self.runs_per_second()
    }
}

fn print(args: &Args, measured: &[Measured], out: &mut dyn Write) -> Result<()> {
    let heading = style::HEADING;
    let Some(any) = measured.first() else { return Ok(()) };
    let runs = quantity::flop(any.flops);
    writeln!(out, "{heading}{}{heading:#}: {runs} a run", model::file_name(&args.model))?;
    for note in &any.notes {
        writeln!(out, "  {note}")?;
    }
    for result in measured {
        writeln!(out, "  on {}", result.device_line)?;
    }
    writeln!(out)?;
    let mut columns = vec![("", Column::Text)];
    columns.extend(measured.iter().map(|result| (result.device.as_str(), Column::Number)));
    let mut table = Table::new(&columns);
    let mut row = |name: &str, cell: &dyn Fn(&Measured) -> String| {
        table.push(std::iter::once(name.to_owned()).chain(measured.iter().map(cell)).collect());
    };
    let ms = |ms: f64| quantity::time(Duration::from_secs_f64(if ms.is_finite() { ms / 1e3 } else { 0.0 }));
    row("load", &|m| quantity::time(m.load));
    row("first result", &|m| quantity::time(m.first));
    row("latency p50", &|m| ms(m.percentile(0.5)));
    row("latency p90", &|m| ms(m.percentile(0.9)));
    row("latency p99", &|m| ms(m.percentile(0.99)));
    row("latency mean", &|m| ms(m.mean()));
    row("runs", &|m| m.latencies.len().to_string());
    if args.concurrency > 1 {
        row("at the same time", &|_| args.concurrency.to_string());
    }
    if any.batch != 1 {
        row("batch", &|m| m.batch.to_string());
    }
    row("runs a second", &|m| quantity::three_digits(m.runs_per_second()));
    row("peak memory", &|m| m.peak_memory.map_or("not known".into(), quantity::bytes));
    row("GFLOP/s", &|m| quantity::three_digits(m.rate() / 1e9));
    row("GFLOP/s at best", &|m| m.peak.map_or("not known".into(), |peak| quantity::three_digits(peak / 1e9)));
    row("% of that", &|m| {
        m.peak.map_or("not known".into(), |peak| quantity::three_digits(100.0 * m.rate() / peak))
    });
    table.write(out)?;
    Ok(())
}

fn json(args: &Args, measured: &[Measured]) -> Json {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let result = |m: &Measured| {
        let mut result = json!({
            "device": m.device, "device_name": m.device_line, "precision": args.session.precision.to_string(),
            "threads": m.threads, "batch": m.batch, "concurrency": args.concurrency, "resident": args.resident,
            "load_ms": ms(m.load), "first_ms": ms(m.first),
            "latency_ms": {
                "p50": m.percentile(0.5), "p90": m.percentile(0.9), "p99": m.percentile(0.99), "mean": m.mean(),
            },
            "iterations": m.latencies.len(), "throughput_per_s": m.runs_per_second() * m.batch as f64,
            "flops": m.flops, "gflop_per_s": m.rate() / 1e9,
        });
        if let (Some(peak), Some(fields)) = (m.peak, result.as_object_mut()) {
            fields.insert("peak_gflop_per_s".into(), (peak / 1e9).into());
            fields.insert("percent_of_peak".into(), (100.0 * m.rate() / peak).into());
        }
        if let (Some(bytes), Some(fields)) = (m.peak_memory, result.as_object_mut()) {
            fields.insert("peak_memory_bytes".into(), bytes.into());
        }
        result
    };
    json!({ "model": args.model.display().to_string(), "results": measured.iter().map(result).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_interpolated() {
        let latencies = (1..=5).map(Duration::from_millis).collect();
        let measured = Measured {
            device: String::new(),
            device_line: String::new(),
            threads: 1,
            batch: 1,
            load: Duration::ZERO,
            first: Duration::ZERO,
            latencies,
            wall: Duration::from_millis(15),
            peak_memory: None,
            flops: 0,
            peak: None,
            notes: Vec::new(),
        };
        assert!((measured.percentile(0.5) - 3.0).abs() < 1e-9);
        assert!((measured.percentile(0.9) - 4.6).abs() < 1e-9);
        assert!((measured.percentile(1.0) - 5.0).abs() < 1e-9);
        assert!((measured.mean() - 3.0).abs() < 1e-9);
    }
}
