//! `inferrum inspect`: tells what a model holds and how it would run.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::builder::{PathBufValueParser, TypedValueParser};
use inferrum::graph::Graph;
use inferrum::onnx::{self, Summary};
use inferrum::{Device, Placement, Plan, PlannedBody, Session, ValueInfo};
use serde_json::{Value as Json, json};

use crate::inputs::{Assumed, ShapeArg};
use crate::model::{self, SessionArgs, from_one};
use crate::table::{Column, Table};
use crate::{Outcome, message, picture, quantity, say_error, style, transfers, value_json};

/// Characters of a line of opsets.
const LINE: usize = 60;

/// Tells what a model holds: inputs, outputs, operators, parameters, and how each device would run it
///
/// Operators that do not exist here are listed. Where the model leaves extents open and neither --shape nor --batch says
/// them, 224 is assumed for the sides of images and 1 otherwise; if the model does not take that, the least power of two
/// that it takes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The model (ONNX)
    model: PathBuf,
    /// Shape to assume of an input, such as x=1x3x224x224
    #[arg(long, value_name = "[NAME=]SHAPE")]
    shape: Vec<ShapeArg>,
    /// Extent to assume of the first axis of inputs where the model leaves it open
    #[arg(long, value_name = "N", value_parser = from_one, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Draws the graph as it runs
    #[arg(long, value_name = "FILE.svg|FILE.html", value_parser = PathBufValueParser::new().try_map(picture_file))]
    graph: Option<PathBuf>,
    /// Draws the graph as the file has it, before any rewriting
    #[arg(long, requires = "graph")]
    raw: bool,
    /// Device to plan for; several may be given [default: auto]
    #[arg(short, long, help_heading = "Session")]
    device: Vec<Device>,
    #[command(flatten)]
    session: SessionArgs,
}

const EXAMPLES: &str = "\
Examples:
  inferrum inspect model.onnx
  inferrum inspect model.onnx --shape x=1x3x224x224 --json
  inferrum inspect model.onnx --graph model.html
  inferrum inspect model.onnx --graph model.svg --raw";

fn picture_file(path: PathBuf) -> Result<PathBuf, String> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("svg" | "html" | "htm") => Ok(path),
        _ => Err("a picture ends in .svg or .html".into()),
    }
}

/// How a device would run the model.
struct Planned {
    session: Session,
    /// Name and assumed type of each input.
    assumed: Vec<String>,
    plan: Plan,
}

/// Runs the command.
pub(crate) fn execute(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    model::check(&args.model)?;
    let summary = onnx::summary(&args.model)?;
    let devices = if args.device.is_empty() { vec![Device::Auto] } else { args.device.clone() };
    let loaded = if summary.unknown().is_empty() { Some(model::load(&args.model, &[])) } else { None };
    // A model that cannot be loaded is told about all the same.
    let (graph, failure) = match loaded {
        None => (None, None),
        Some(Ok(model)) => (Some(model.graph), None),
        Some(Err(error)) => (None, Some(error)),
    };
    if let Some(graph) = &graph {
        // A slip of the user's, and no fault of a device.
        Assumed::new(&args.shape, &infos(graph), args.batch)?;
    }
    let plans: Vec<(&Device, Result<Planned>)> = graph
        .iter()
        .flat_map(|graph| devices.iter().map(|device| (device, plan(args, graph, device))))
        .collect();
    let unusable = |planned: &Result<Planned>| {
        let error = planned.as_ref().err().and_then(|error| error.downcast_ref());
        matches!(error, Some(inferrum::Error::Device { .. } | inferrum::Error::Unsupported(_)))
    };
    let bad = failure.is_some() || plans.iter().any(|(_, planned)| unusable(planned));
    if args.json {
        let json = json(args, &summary, graph.as_ref(), &plans, failure.as_ref());
        serde_json::to_writer_pretty(&mut *out, &json)?;
        writeln!(out)?;
    } else {
        print_summary(args, &summary, graph.as_ref(), out)?;
        for (device, planned) in &plans {
            match planned {
                Ok(planned) => print_plan(planned, out)?,
                Err(_) if unusable(planned) => {}
                Err(error) => writeln!(out, "\ncannot be planned on {device}: {}", message(error))?,
            }
        }
    }
    out.flush()?;
    plans
        .iter()
        .filter(|(_, planned)| unusable(planned))
        .filter_map(|(_, planned)| planned.as_ref().err())
        .for_each(say_error);
    if let (Some(error), None) = (&failure, &args.graph) {
        say_error(error);
    }
    if let Some(path) = &args.graph {
        draw(args, path, graph.as_ref(), plans.into_iter().next(), failure)?;
        if !args.json {
            writeln!(out, "\npicture in {}", path.display())?;
        }
    }
    Ok(if bad { Outcome::Bad } else { Outcome::Good })
}

fn infos(graph: &Graph) -> Vec<ValueInfo> {
    let info = |&id| ValueInfo { name: graph.value(id).name.clone(), fact: graph.fact(id).clone() };
    graph.inputs.iter().map(info).collect()
}

fn plan(args: &Args, graph: &Graph, device: &Device) -> Result<Planned> {
    let session = args.session.builder(device).optimize(!args.raw).build(graph.clone())?;
    let infos = infos(graph);
    let mut assumed = Assumed::new(&args.shape, &infos, args.batch)?;
    let plan = assumed.settle(&infos, |facts| session.plan(facts))?;
    let facts = infos.iter().map(|info| assumed.concrete(info));
    let told = infos.iter().zip(facts).filter(|(info, fact)| info.fact != *fact);
    let assumed = told.map(|(info, fact)| format!("{}: {fact}{}", info.name, assumed.note(info))).collect();
    Ok(Planned { session, assumed, plan })
}

fn draw(
    args: &Args,
    path: &std::path::Path,
    graph: Option<&Graph>,
    plan: Option<(&Device, Result<Planned>)>,
    failure: Option<anyhow::Error>,
) -> Result<()> {
    let title = model::file_name(&args.model);
    match (plan, graph) {
        (Some((_, Ok(planned))), _) => {
            picture::write(path, &title, planned.session.graph(), Some(&planned.plan))
        }
        (_, Some(graph)) => picture::write(path, &title, graph, None),
        (_, None) => {
            let why = failure.unwrap_or_else(|| anyhow::anyhow!("it uses operators that do not exist here"));
            Err(why.context("the graph cannot be drawn"))
        }
    }
}

/// Bytes of the constants that a graph and its bodies hold.
fn weight_bytes(graph: &Graph) -> u64 {
    let constants = graph.values().iter().filter_map(|value| value.fact.value());
    let own: u64 = constants.map(|tensor| tensor.bytes().len() as u64).sum();
    let bodies =
        graph.nodes().iter().filter_map(|node| node.op.control()).flat_map(|control| control.bodies());
    own + bodies.map(|body| weight_bytes(body)).sum::<u64>()
}

/// Items with commas between them, on lines that no table has to cut.
fn lines(items: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + item.chars().count() <= LINE => {
                line.push_str(", ");
                line.push_str(item);
            }
            Some(line) => {
                line.push(',');
                lines.push(item.clone());
            }
            None => lines.push(item.clone()),
        }
    }
    lines
}

fn print_summary(args: &Args, summary: &Summary, graph: Option<&Graph>, out: &mut dyn Write) -> Result<()> {
    let heading = style::HEADING;
    writeln!(out, "{heading}{}{heading:#}", model::file_name(&args.model))?;
    let info = &summary.info;
    let opsets: Vec<String> =
        info.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    let mut about = Table::new(&[("", Column::Text), ("", Column::Text)]);
    let mut line = |name: &str, text: String| {
        if !text.is_empty() {
            about.row([name.into(), text]);
        }
    };
    line("graph", summary.graph.clone());
    line("producer", format!("{} {}", info.producer, info.producer_version).trim().to_owned());
    line("format", format!("IR {}", info.ir_version));
    let opsets = lines(&opsets);
    let names = std::iter::once("opsets").chain(std::iter::repeat(""));
    names.zip(opsets).for_each(|(name, text)| line(name, text));
    line("description", info.description.lines().next().unwrap_or_default().to_owned());
    let parameters = quantity::count(summary.parameters as f64);
    let bytes = graph.map(|graph| format!(", {}", quantity::bytes(weight_bytes(graph)))).unwrap_or_default();
    line(
        "parameters",
        format!(
            "{parameters} in {} tensor{}{bytes}",
            summary.initializers,
            quantity::plural(summary.initializers)
        ),
    );
    let functions =
        if summary.functions > 0 { format!(", {} functions", summary.functions) } else { String::new() };
    line("nodes", format!("{}{functions}", summary.nodes()));
    about.write(out)?;
    for (name, values) in [("inputs", &summary.inputs), ("outputs", &summary.outputs)] {
        writeln!(out, "\n{heading}{name}{heading:#}")?;
        let mut table = Table::new(&[("", Column::Text), ("", Column::Text)]);
        values.iter().for_each(|(name, fact)| table.row([name.clone(), fact.to_string()]));
        if table.is_empty() {
            table.row(["none".into(), String::new()]);
        }
        table.write(out)?;
    }
    writeln!(out)?;
    let mut operators = summary.operators.clone();
    operators.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.op_type.cmp(&b.op_type)));
    let mut table = Table::new(&[
        ("operator", Column::Text),
        ("nodes", Column::Number),
        ("opset", Column::Number),
        ("", Column::Text),
    ]);
    for used in &operators {
        let name = if used.domain == "ai.onnx" {
            used.op_type.clone()
        } else {
            format!("{}.{}", used.domain, used.op_type)
        };
        let unknown = if used.known { "" } else { "does not exist here" };
        table.row([name, used.nodes.to_string(), used.opset.to_string(), unknown.into()]);
    }
    table.write(out)?;
    let unknown = summary.unknown();
    if !unknown.is_empty() {
        let s = quantity::plural(unknown.len());
        writeln!(out, "\n{} operator{s} of this model do not exist here, so it cannot run", unknown.len())?;
    }
    Ok(())
}

fn print_plan(planned: &Planned, out: &mut dyn Write) -> Result<()> {
    let Planned { session, assumed, plan } = planned;
    let heading = style::HEADING;
    writeln!(out, "\n{heading}on {}{heading:#}", model::device_line(session))?;
    for line in assumed {
        writeln!(out, "  assumed {line}")?;
    }
    let mut table = Table::new(&[("", Column::Text), ("", Column::Text)]);
    let nodes = session.graph().nodes().len();
    table.row(["nodes".into(), format!("{} run, of {nodes} after rewriting", plan.nodes.len())]);
    let beside = if plan.bodies.is_empty() { "" } else { ", bodies not counted" };
    table.row(["operations".into(), format!("{} a run{beside}", quantity::flop(plan.flops()))]);
    let weights = quantity::bytes(weight_bytes(session.graph()));
    let packed = quantity::bytes(session.weight_bytes() as u64);
    table.row(["weights".into(), format!("{weights} in the file, {packed} in forms of the device's own")]);
    table.row([
        "memory".into(),
        format!("{} for intermediate values of a run", quantity::bytes(plan.workspace_bytes as u64)),
    ]);
    table.write(out)?;
    if !plan.complete {
        writeln!(out, "  the rest depends on values that only a run knows, and is not counted")?;
    }
    transfers::lines(&plan.transfers).iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    print_bodies(plan, out)?;
    if !session.fusions().is_empty() {
        writeln!(out)?;
        let mut table = Table::new(&[("rewrite", Column::Text), ("times", Column::Number)]);
        session.fusions().iter().for_each(|(name, count)| table.row([name.clone(), count.to_string()]));
        table.write(out)?;
    }
    let in_bodies = plan.all_bodies().into_iter().flat_map(|(_, plan)| &plan.nodes);
    let nodes = plan.nodes.iter().chain(in_bodies).map(|node| node.placement.clone()).collect();
    let placement = Placement { nodes, transfers: plan.transfers.clone() };
    let mut table =
        Table::new(&[("kernel", Column::Text), ("device", Column::Text), ("nodes", Column::Number)]);
    for (device, kernel, count) in placement.kernels() {
        table.row([kernel, device, count.to_string()]);
    }
    if !table.is_empty() {
        writeln!(out)?;
        table.write(out)?;
    }
    let mut table = Table::new(&[
        ("node", Column::Text),
        ("operator", Column::Text),
        ("not as asked for, because", Column::Text),
    ]);
    for node in placement.declined() {
        table.row([node.node.clone(), node.op.clone(), node.reason.clone().unwrap_or_default()]);
    }
    if !table.is_empty() {
        writeln!(out)?;
        table.write(out)?;
    }
    Ok(())
}

/// The bodies of a plan and their own, each with what one call does.
fn print_bodies(plan: &Plan, out: &mut dyn Write) -> Result<()> {
    let mut table = Table::new(&[
        ("body", Column::Text),
        ("of node", Column::Text),
        ("nodes", Column::Number),
        ("a call", Column::Number),
        ("", Column::Text),
    ]);
    let mut failed = Vec::new();
    let mut waiting: Vec<(usize, &PlannedBody)> = plan.bodies.iter().rev().map(|body| (0, body)).collect();
    while let Some((depth, body)) = waiting.pop() {
        let name = format!("{}{}", "  ".repeat(depth), body_name(body));
        match &body.plan {
            Ok(plan) => {
                let more = if plan.complete { "" } else { "and what depends on values" };
                let count = plan.nodes.len().to_string();
                table.row([name, body.node.clone(), count, quantity::flop(plan.flops()), more.into()]);
                waiting.extend(plan.bodies.iter().rev().map(|inner| (depth + 1, inner)));
            }
            Err(why) => {
                let (node, dash) = (body.node.clone(), "-".to_owned());
                failed.push(format!("{} of {node} is not planned: {why}", body_name(body)));
                table.row([name, node, dash.clone(), dash, "not planned".into()]);
            }
        }
    }
    if !table.is_empty() {
        writeln!(out, "\n  bodies, as their first call runs them; how often they run depends on values")?;
        table.write(out)?;
    }
    for line in failed {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// `If then`, `Loop`.
fn body_name(body: &PlannedBody) -> String {
    match (body.op.as_str(), body.index) {
        ("If", 0) => "If then".into(),
        ("If", 1) => "If else".into(),
        (op, 0) => op.into(),
        (op, index) => format!("{op} {index}"),
    }
}

fn json(
    args: &Args,
    summary: &Summary,
    graph: Option<&Graph>,
    plans: &[(&Device, Result<Planned>)],
    failure: Option<&anyhow::Error>,
) -> Json {
    let info = &summary.info;
    let values = |values: &[(String, inferrum::graph::Fact)]| -> Json {
        values.iter().map(|(name, fact)| value_json::named_fact(name, fact)).collect()
    };
    let operators = summary.operators.iter().map(|used| {
        json!({ "domain": used.domain, "op_type": used.op_type, "opset": used.opset, "nodes": used.nodes, "known": used.known })
    });
    json!({
        "model": args.model.display().to_string(), "graph": summary.graph, "ir_version": info.ir_version, "opsets": info.opsets,
        "producer": info.producer, "producer_version": info.producer_version, "domain": info.domain,
        "model_version": info.model_version, "description": info.description, "metadata": info.metadata,
        "inputs": values(&summary.inputs), "outputs": values(&summary.outputs),
        "nodes": summary.nodes(), "functions": summary.functions, "initializers": summary.initializers,
        "parameters": u64::try_from(summary.parameters).ok(), "weight_bytes": graph.map(weight_bytes),
        "operators": operators.collect::<Vec<_>>(),
        "unknown_operators": summary.unknown().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "load_error": failure.map(message),
        "plans": plans.iter().map(|(device, planned)| plan_json(device, planned)).collect::<Vec<_>>(),
    })
}

fn plan_json(device: &Device, planned: &Result<Planned>) -> Json {
    let Planned { session, assumed, plan } = match planned {
        Ok(planned) => planned,
        Err(error) => return json!({ "device": device.to_string(), "error": message(error) }),
    };
    let fusion = |(name, count): &(String, usize)| json!({ "name": name, "count": count });
    json!({
        "device": session.device().id, "device_name": session.device().name, "assumed": assumed,
        "flops": plan.flops(), "complete": plan.complete, "workspace_bytes": plan.workspace_bytes,
        "packed_weight_bytes": session.weight_bytes(), "graph_nodes": session.graph().nodes().len(),
        "fusions": session.fusions().iter().map(fusion).collect::<Vec<_>>(),
        "transfers": transfers::json(&plan.transfers), "nodes": nodes_json(plan), "bodies": bodies_json(plan),
    })
}

fn nodes_json(plan: &Plan) -> Vec<Json> {
    let node = |node: &inferrum::PlannedNode| {
        let reason = node.placement.reason.as_deref().or(node.placement.hosted);
        json!({
            "node": node.placement.node, "operator": node.placement.op, "device": node.placement.device,
            "kernel": node.placement.kernel, "reason": reason, "flops": node.flops, "bytes": node.bytes,
        })
    };
    plan.nodes.iter().map(node).collect()
}

/// What one call of each body does.
fn bodies_json(plan: &Plan) -> Vec<Json> {
    let body = |body: &PlannedBody| {
        let name = json!({ "node": body.node, "operator": body.op, "index": body.index });
        let fields = match &body.plan {
            Err(why) => json!({ "error": why }),
            Ok(plan) => json!({
                "flops_per_call": plan.flops(), "complete": plan.complete, "workspace_bytes": plan.workspace_bytes,
                "transfers": transfers::json(&plan.transfers), "nodes": nodes_json(plan), "bodies": bodies_json(plan),
            }),
        };
        let both = [name, fields].into_iter().filter_map(|part| part.as_object().cloned()).flatten();
        Json::Object(both.collect())
    };
    plan.bodies.iter().map(body).collect()
}
