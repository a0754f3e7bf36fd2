//! Profiles: as a Chrome trace, and as a table of what took longest.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use inferrum::Span;
use serde_json::json;

use crate::quantity;
use crate::table::{Column, Table};

/// Rows of the table.
const SLOWEST: usize = 10;

/// Writes spans in the Trace Event Format, which chrome://tracing and Perfetto show.
pub(crate) fn write(path: &Path, model: &str, spans: &[Span]) -> Result<()> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer(&mut file, &trace(model, spans))?;
        file.flush()?;
        anyhow::Ok(())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

fn trace(model: &str, spans: &[Span]) -> serde_json::Value {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let events = spans.iter().map(|span| {
        json!({
            "name": span.op, "cat": span.kernel, "ph": "X", "pid": 1, "tid": 1,
            "ts": micros(span.start), "dur": micros(span.duration),
            "args": {
                "node": span.node, "kernel": span.kernel, "output": span.shape, "flops": span.flops,
                "bytes": span.bytes, "GFLOP/s": rate(span.flops, span.duration), "GB/s": rate(span.bytes, span.duration),
            },
        })
    });
    let process = json!({ "name": "process_name", "ph": "M", "pid": 1, "args": { "name": model } });
    json!({ "displayTimeUnit": "ms", "traceEvents": std::iter::once(process).chain(events).collect::<Vec<_>>() })
}

/// Thousand millions a second.
fn rate(amount: u64, duration: Duration) -> f64 {
    if duration.is_zero() { 0.0 } else { amount as f64 / duration.as_secs_f64() / 1e9 }
}

/// Writes what took longest: nodes, and kernels as a whole.
pub(crate) fn summarise(out: &mut dyn Write, spans: &[Span]) -> io::Result<()> {
    let total: Duration = spans.iter().map(|span| span.duration).sum();
    let share = |duration: Duration| {
        let part = if total.is_zero() { 0.0 } else { duration.as_secs_f64() / total.as_secs_f64() };
        format!("{:.1}", 100.0 * part)
    };
    let mut slowest: Vec<&Span> = spans.iter().collect();
    slowest.sort_by_key(|span| std::cmp::Reverse(span.duration));
    let columns = [
        ("node", Column::Text),
        ("operator", Column::Text),
        ("output", Column::Text),
        ("time", Column::Number),
        ("%", Column::Number),
        ("GFLOP/s", Column::Number),
    ];
    let mut table = Table::new(&columns);
    for span in slowest.iter().take(SLOWEST) {
        table.row([
            span.node.clone(),
            span.op.clone(),
            span.shape.clone(),
            quantity::time(span.duration),
            share(span.duration),
            quantity::three_digits(rate(span.flops, span.duration)),
        ]);
    }
    writeln!(out, "\nslowest of {} nodes, {} in all", spans.len(), quantity::time(total))?;
    table.write(out)?;

    let mut kernels: HashMap<&str, (usize, Duration, u64)> = HashMap::new();
    for span in spans {
        let entry = kernels.entry(&span.kernel).or_default();
        *entry = (entry.0 + 1, entry.1 + span.duration, entry.2.saturating_add(span.flops));
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by_key(|&(name, (_, duration, _))| (std::cmp::Reverse(duration), name));
    let columns = [
        ("kernel", Column::Text),
        ("nodes", Column::Number),
        ("time", Column::Number),
        ("%", Column::Number),
        ("GFLOP/s", Column::Number),
    ];
    let mut table = Table::new(&columns);
    for (name, (count, duration, flops)) in kernels.into_iter().take(SLOWEST) {
        table.row([
            name.to_owned(),
            count.to_string(),
            quantity::time(duration),
            share(duration),
            quantity::three_digits(rate(flops, duration)),
        ]);
    }
    writeln!(out, "\nslowest kernels")?;
    table.write(out)
}
