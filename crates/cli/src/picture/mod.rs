//! Graphs as pictures: layered, from the inputs at the top to the outputs at the bottom.

mod diagram;
mod family;
mod html;
mod layers;
mod order;
mod place;
mod svg;

use std::path::Path;

use anyhow::{Context, Result, bail};
use inferrum::graph::Graph;
use inferrum::{Plan, PlannedBody};

use diagram::{Diagram, Knowledge};
use layers::Layers;
use place::Places;

/// Boxes and bends of a picture at most; beyond, it is neither made in reasonable time nor readable.
const MOST_VERTICES: usize = 200_000;
/// Bodies within bodies that are drawn.
const DEEPEST: usize = 4;

/// A part of a picture: a graph, or a body of a node.
struct Part {
    title: String,
    diagram: Diagram,
    layers: Layers,
    places: Places,
}

/// Draws a graph with its bodies into a file, by its ending `.svg` or `.html`.
///
/// `plan` knows of the graph's values and nodes what the graph does not say.
pub(crate) fn write(path: &Path, title: &str, graph: &Graph, plan: Option<&Plan>) -> Result<()> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let mut parts = Vec::new();
    add(title.to_owned(), graph, plan, 0, &mut parts)?;
    let drawing = svg::draw(title, &parts);
    let text = match extension.as_deref() {
        Some("svg") => drawing,
        Some("html" | "htm") => html::page(title, &drawing),
        _ => bail!("{}: a picture ends in .svg or .html", path.display()),
    };
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// Adds a graph, and after it the bodies of its nodes.
fn add(title: String, graph: &Graph, plan: Option<&Plan>, depth: usize, parts: &mut Vec<Part>) -> Result<()> {
    let diagram = Diagram::of(graph, Knowledge::of(plan));
    let mut layers = Layers::of(&diagram, MOST_VERTICES).with_context(|| {
        format!("a graph of {} nodes with so many long edges is too large to draw", graph.nodes().len())
    })?;
    order::arrange(&mut layers);
    let places = place::place(&diagram, &layers);
    parts.push(Part { title, diagram, layers, places });
    if depth == DEEPEST {
        return Ok(());
    }
    for (id, node) in graph.nodes().iter().enumerate() {
        let Some(control) = node.op.control() else { continue };
        for (index, body) in control.bodies().into_iter().enumerate() {
            let what = match (node.op.key().op_type, index) {
                ("If", 0) => "then".to_owned(),
                ("If", 1) => "else".to_owned(),
                (_, 0) => "body".to_owned(),
                (_, index) => format!("body {index}"),
            };
            let title = format!("{what} of {} ({})", node.name, node.op.key());
            let of = |planned: &&PlannedBody| planned.id.0 == id && planned.index == index;
            let planned = plan.and_then(|plan| plan.bodies.iter().find(of));
            let planned = planned.and_then(|planned| planned.plan.as_ref().ok());
            add(title, body, planned, depth + 1, parts)?;
        }
    }
    Ok(())
}
