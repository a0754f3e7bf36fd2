//! `inferrum compare`: how far a device's results are from another's, or from the reference.

use std::cell::OnceCell;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};
use inferrum::graph::Graph;
use inferrum::{DType, Device, Inputs, Session, Tensor, Value, ValueInfo, interpret_f64};
use serde_json::{Value as Json, json};

use crate::inputs::{Given, InputArgs};
use crate::model::{self, SessionArgs};
use crate::table::{Column, Table};
use crate::{Outcome, quantity, style};

/// Compares a device's outputs with another's, or with the reference in f64
///
/// The reference is every operator's plain definition, computed in f64 where the operator takes it. With --per-node the
/// graph is not optimised, so that every node's outputs exist; errors add up from node to node.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The model (ONNX)
    model: PathBuf,
    /// Compares the outputs of every node
    #[arg(long)]
    per_node: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Device to judge
    #[arg(short, long, default_value = "auto", help_heading = "Session")]
    device: Side,
    /// Device to compare with, or reference
    #[arg(long, default_value = "reference", help_heading = "Session")]
    against: Side,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    inputs: InputArgs,
}

const EXAMPLES: &str = "\
Examples:
  inferrum compare model.onnx
  inferrum compare model.onnx --device cpu --inputs inputs.npz --per-node
  inferrum compare model.onnx --input photo.jpg --json";

/// What computes.
#[derive(Clone, Debug)]
enum Side {
    Device(Device),
    Reference,
}

impl FromStr for Side {
    type Err = <Device as FromStr>::Err;

    fn from_str(text: &str) -> Result<Side, Self::Err> {
        if text == "reference" { Ok(Side::Reference) } else { text.parse().map(Side::Device) }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Side::Device(device) => device.fmt(f),
            Side::Reference => f.write_str("reference (f64)"),
        }
    }
}

/// A line of the comparison.
struct Row {
    name: String,
    /// The node that gives the value, and its operator.
    node: Option<(String, String)>,
    what: String,
    difference: Difference,
}

enum Difference {
    Numbers(Measures),
    /// Values that are no numbers: why they differ, if they do.
    Other(Option<String>),
}

/// How far numbers are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measures {
    /// Greatest `|got - want|`.
    absolute: f64,
    /// Greatest `|got - want| / |want|`, where that is not 0.
    relative: f64,
    /// Greatest `|got - want|` as a part of the greatest `|want|`.
    of_greatest: f64,
    /// The cosine of the angle between the two, taken as vectors.
    cosine: f64,
    /// Elements of which only one is NaN, or that are different infinities.
    odd: usize,
}

/// Runs the command.
pub(crate) fn execute(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let mut graph = model::load(&args.model, &args.inputs.names())?.graph;
    let infos: Vec<ValueInfo> = graph
        .inputs
        .iter()
        .map(|&id| ValueInfo { name: graph.value(id).name.clone(), fact: graph.fact(id).clone() })
        .collect();
    let planner = OnceCell::new();
    let given = args.inputs.resolve(&infos, None, |facts| {
        let session = planner.get_or_init(|| {
            Session::builder().device(Device::Cpu).build(graph.clone()).map_err(|e| e.to_string())
        });
        session.as_ref().map_err(|why| inferrum::Error::Backend(why.clone()))?.plan(facts)
    })?;
    drop(planner);
    if args.per_node {
        graph = model::with_every_value(graph);
    }
    let (device, got) = values(args, &args.device, &graph, &infos, &given)?;
    let (other, want) = values(args, &args.against, &graph, &infos, &given)?;
    let producers = graph.producers();
    let mut rows = Vec::with_capacity(got.len());
    for ((&id, got), want) in graph.outputs.iter().zip(&got).zip(&want) {
        let node = producers[id.index()].map(|node| &graph.nodes()[node.0]);
        rows.push(Row {
            name: graph.value(id).name.clone(),
            node: node.map(|node| (node.name.clone(), node.op.key().to_string())),
            what: got.as_tensor().map_or_else(|| got.describe(), |tensor| tensor.shape().to_string()),
            difference: difference(got, want)?,
        });
    }
    if args.json {
        print_json(args, &device, &other, &given, &rows, out)?;
    } else {
        print_table(args, &device, &other, &given, &rows, out)?;
    }
    Ok(Outcome::Good)
}

/// What computes, in words, and the graph's outputs.
fn values(
    args: &Args,
    side: &Side,
    graph: &Graph,
    infos: &[ValueInfo],
    given: &Given,
) -> Result<(String, Vec<Value>)> {
    match side {
        Side::Reference => {
            let find = |info: &ValueInfo| {
                let value = given.values.iter().find(|(name, _)| *name == info.name);
                let value = value.with_context(|| format!("missing input `{}`: {}", info.name, info.fact))?;
                Ok(value.1.clone())
            };
            let inputs = infos.iter().map(find).collect::<Result<_>>()?;
            Ok((side.to_string(), interpret_f64(graph, inputs).map_err(|error| given.explain(error))?))
        }
        Side::Device(device) => {
            let session = args.session.builder(device).optimize(!args.per_node).build(graph.clone())?;
            let inputs: Inputs = given.inputs();
            Ok((
                model::device_line(&session),
                session.run(inputs).map_err(|error| given.explain(error))?.into_values(),
            ))
        }
    }
}

fn difference(got: &Value, want: &Value) -> Result<Difference> {
    let differ = |text: String| Ok(Difference::Other(Some(text)));
    match (got, want) {
        (Value::Tensor(got), Value::Tensor(want)) => tensors(got, want),
        (Value::Sequence(a), Value::Sequence(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                match difference(a, b)? {
                    Difference::Numbers(measures) if measures.absolute > 0.0 || measures.odd > 0 => {
                        return differ(format!(
                            "item {index}: {} absolute",
                            quantity::error(measures.absolute)
                        ));
                    }
                    Difference::Other(Some(why)) => return differ(format!("item {index}: {why}")),
                    _ => {}
                }
            }
            Ok(Difference::Other(None))
        }
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => difference(a, b),
        (Value::Optional(None), Value::Optional(None)) => Ok(Difference::Other(None)),
        (Value::Map { keys: a, values: got }, Value::Map { keys: b, values: want }) if a == b => {
            tensors(got, want)
        }
        _ => differ(format!("{} and {}", got.describe(), want.describe())),
    }
}

fn tensors(got: &Tensor, want: &Tensor) -> Result<Difference> {
    if got.shape() != want.shape() {
        return Ok(Difference::Other(Some(format!("shapes {} and {}", got.shape(), want.shape()))));
    }
    if got.dtype() == DType::String && want.dtype() == DType::String {
        let count = got.as_strings()?.iter().zip(want.as_strings()?).filter(|(a, b)| a != b).count();
        return Ok(Difference::Other((count > 0).then(|| format!("{count} strings"))));
    }
    match (got.to_f64(), want.to_f64()) {
        (Ok(got), Ok(want)) => Ok(Difference::Numbers(Measures::of(&got, &want))),
        _ => Ok(Difference::Other((got != want).then(|| "some elements".into()))),
    }
}

impl Measures {
    fn of(got: &[f64], want: &[f64]) -> Measures {
        let (mut absolute, mut relative, mut greatest, mut odd) = (0.0f64, 0.0f64, 0.0f64, 0);
        let (mut product, mut own, mut others) = (0.0, 0.0, 0.0);
        for (&a, &b) in got.iter().zip(want) {
            if !a.is_finite() || !b.is_finite() {
                odd += usize::from(a != b && !(a.is_nan() && b.is_nan()));
                continue;
            }
            let error = (a - b).abs();
            absolute = absolute.max(error);
            greatest = greatest.max(b.abs());
            if b != 0.0 {
                relative = relative.max(error / b.abs());
            }
            product += a * b;
            own += a * a;
            others += b * b;
        }
        let of_greatest = if absolute == 0.0 { 0.0 } else { absolute / greatest.max(1e-6) };
        let norm = (own * others).sqrt();
        // Two zero vectors point the same way; a zero vector and another do not.
        let cosine = if norm > 0.0 {
            product / norm
        } else if own == others {
            1.0
        } else {
            0.0
        };
        Measures { absolute, relative, of_greatest, cosine, odd }
    }
}

fn print_table(
    args: &Args,
    device: &str,
    other: &str,
    given: &Given,
    rows: &[Row],
    out: &mut dyn Write,
) -> Result<()> {
    let heading = style::HEADING;
    writeln!(out, "{heading}{}{heading:#}", model::file_name(&args.model))?;
    writeln!(out, "  {device}\n  against {other}")?;
    for note in &given.notes {
        writeln!(out, "  {note}")?;
    }
    writeln!(out)?;
    let first = if args.per_node { "node" } else { "output" };
    let second = if args.per_node { "operator" } else { "" };
    let mut table = Table::new(&[
        (first, Column::Text),
        (second, Column::Text),
        ("shape", Column::Text),
        ("max abs", Column::Number),
        ("max rel", Column::Number),
        ("of max", Column::Number),
        ("cosine", Column::Number),
    ]);
    let mut remarks = Vec::new();
    for row in rows {
        table.row(cells(row, args.per_node, &mut remarks));
    }
    table.write(out)?;
    remarks.iter().try_for_each(|remark| writeln!(out, "  {remark}"))?;
    if args.per_node {
        let measured = rows.iter().filter_map(|row| match &row.difference {
            Difference::Numbers(measures) => Some((row, measures.of_greatest)),
            Difference::Other(_) => None,
        });
        if let Some((row, error)) = measured.max_by(|a, b| a.1.total_cmp(&b.1)) {
            let (node, op) = row.node.as_ref().map_or(("", ""), |(node, op)| (node, op));
            writeln!(out, "\n  greatest: node `{node}` ({op}), {} (of max)", quantity::error(error))?;
        }
    }
    Ok(())
}

/// What the table says of a value; what does not fit there is a remark.
fn cells(row: &Row, per_node: bool, remarks: &mut Vec<String>) -> [String; 7] {
    let (name, op) = match &row.node {
        Some((node, op)) if per_node => (node.clone(), op.clone()),
        _ => (row.name.clone(), String::new()),
    };
    let [absolute, relative, of_greatest, cosine] = match &row.difference {
        Difference::Numbers(m) => {
            if m.odd > 0 {
                remarks.push(format!("{name}: {} elements are NaN or infinite on one side only", m.odd));
            }
            let [a, r, g] = [m.absolute, m.relative, m.of_greatest].map(quantity::error);
            [a, r, g, format!("{:.6}", m.cosine)]
        }
        Difference::Other(None) => ["same".into(), String::new(), String::new(), String::new()],
        Difference::Other(Some(why)) => {
            remarks.push(format!("{name}: {why} differ"));
            ["differ".into(), String::new(), String::new(), String::new()]
        }
    };
    [name, op, row.what.clone(), absolute, relative, of_greatest, cosine]
}

fn print_json(
    args: &Args,
    device: &str,
    other: &str,
    given: &Given,
    rows: &[Row],
    out: &mut dyn Write,
) -> Result<()> {
    let row = |row: &Row| -> Json {
        let mut json = json!({
            "name": row.name, "shape": row.what,
            "node": row.node.as_ref().map(|(node, _)| node), "operator": row.node.as_ref().map(|(_, op)| op),
        });
        if let Some(fields) = json.as_object_mut() {
            match &row.difference {
                Difference::Numbers(m) => {
                    fields.insert("max_absolute".into(), m.absolute.into());
                    fields.insert("max_relative".into(), m.relative.into());
                    fields.insert("of_greatest".into(), m.of_greatest.into());
                    fields.insert("cosine".into(), m.cosine.into());
                    fields.insert("nan_or_infinite_on_one_side".into(), m.odd.into());
                }
                Difference::Other(why) => {
                    fields.insert("differs".into(), why.clone().into());
                }
            }
        }
        json
    };
    let json = json!({
        "model": args.model.display().to_string(), "device": device, "against": other, "inputs": given.notes,
        "per_node": args.per_node, "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_measured_in_every_way() {
        let m = Measures::of(&[1.0, 2.1, 0.0, f64::NAN], &[1.0, 2.0, 0.0, f64::NAN]);
        assert!((m.absolute - 0.1).abs() < 1e-12 && (m.relative - 0.05).abs() < 1e-12);
        assert!((m.of_greatest - 0.05).abs() < 1e-12 && m.cosine > 0.999 && m.odd == 0);
        let m = Measures::of(&[f64::NAN, f64::INFINITY, 3.0], &[1.0, f64::NEG_INFINITY, 3.0]);
        assert_eq!((m.odd, m.absolute, m.cosine), (2, 0.0, 1.0));
        assert_eq!(Measures::of(&[], &[]).cosine, 1.0);
        assert_eq!(Measures::of(&[0.0], &[1.0]).cosine, 0.0);
    }
}
