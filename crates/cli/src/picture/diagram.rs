//! A graph as boxes and the nets between them.

use std::fmt::Write;

use inferrum::graph::{Fact, Graph, Node, NodeId, ValueId};
use inferrum::{Plan, PlannedNode, Tensor};

use super::family::{self, Family};
use crate::quantity;
use crate::table::cut;

/// Characters of a box's lines at most.
const LINE: usize = 26;
/// Characters of a tooltip's line at most.
const TOOLTIP_LINE: usize = 160;
/// Width of a character of the first line, and of the others.
const CHARACTER: (f64, f64) = (7.4, 5.9);
/// Height of the first line with its margins, and of each other line.
const LINE_HEIGHT: (f64, f64) = (24.0, 13.0);

/// What is drawn.
pub(super) struct Diagram {
    pub(super) boxes: Vec<Box>,
    pub(super) nets: Vec<Net>,
}

/// A node, or an input or output of the graph.
pub(super) struct Box {
    /// The first line.
    pub(super) title: String,
    /// The lines below it.
    pub(super) lines: Vec<String>,
    pub(super) tooltip: String,
    pub(super) family: Family,
    /// Whether this is an input or output of the graph.
    pub(super) terminal: bool,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A value: from the box that gives it to those that take it.
pub(super) struct Net {
    pub(super) from: usize,
    /// A box stands once for each time it takes the value.
    pub(super) to: Vec<usize>,
    pub(super) tooltip: String,
}

/// What is known of a graph beside itself.
#[derive(Clone, Copy)]
pub(super) struct Knowledge<'a> {
    /// What is known of each value, by its index; the graph's own facts if absent.
    pub(super) facts: Option<&'a [Fact]>,
    /// The nodes that run.
    pub(super) planned: &'a [PlannedNode],
}

impl<'a> Knowledge<'a> {
    pub(super) fn of(plan: Option<&'a Plan>) -> Knowledge<'a> {
        Knowledge {
            facts: plan.map(|plan| plan.facts.as_slice()),
            planned: plan.map(|plan| plan.nodes.as_slice()).unwrap_or_default(),
        }
    }
}

impl Diagram {
    /// The boxes and nets of a graph. Constants are part of the boxes that take them; so is what a plan has folded to
    /// constants, and the nodes that would compute it are left out.
    pub(super) fn of(graph: &Graph, knowledge: Knowledge<'_>) -> Diagram {
        let draw = Draw { graph, knowledge };
        let mut boxes: Vec<Box> = graph.inputs.iter().map(|&id| draw.terminal(id, family::INPUT)).collect();
        let mut place: Vec<Option<usize>> = vec![None; graph.nodes().len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            if !draw.folded(node) {
                place[index] = Some(boxes.len());
                boxes.push(draw.node(NodeId(index), node));
            }
        }
        let outputs = boxes.len();
        boxes.extend(graph.outputs.iter().map(|&id| draw.terminal(id, family::OUTPUT)));
        let mut from: Vec<Option<usize>> =
            graph.producers().iter().map(|producer| producer.and_then(|node| place[node.0])).collect();
        for (index, id) in graph.inputs.iter().enumerate() {
            from[id.index()] = Some(index);
        }
        let mut to: Vec<Vec<usize>> = graph
            .consumers()
            .into_iter()
            .map(|consumers| consumers.into_iter().filter_map(|node| place[node.0]).collect())
            .collect();
        for (index, id) in graph.outputs.iter().enumerate() {
            to[id.index()].push(outputs + index);
        }
        let nets = graph.value_ids().filter_map(|id| {
            let (from, to) = (from[id.index()]?, std::mem::take(&mut to[id.index()]));
            (!to.is_empty()).then(|| Net { from, to, tooltip: draw.value(id) })
        });
        Diagram { nets: nets.collect(), boxes }
    }
}

struct Draw<'a> {
    graph: &'a Graph,
    knowledge: Knowledge<'a>,
}

impl Draw<'_> {
    fn fact(&self, id: ValueId) -> &Fact {
        let known = self.knowledge.facts.and_then(|facts| facts.get(id.index()));
        known.unwrap_or_else(|| self.graph.fact(id))
    }

    /// Whether a node does not run because its outputs are known.
    fn folded(&self, node: &Node) -> bool {
        let known = |id: &ValueId| self.fact(*id).value().is_some() && !self.graph.outputs.contains(id);
        self.knowledge.facts.is_some() && node.outputs.iter().flatten().all(known)
    }

    /// The elements of a value, if they are known and it is no input.
    fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.fact(id).value().or_else(|| self.graph.constant(id))
    }

    /// `name: float32[1x3x224x224]`.
    fn value(&self, id: ValueId) -> String {
        format!("{}: {}", self.graph.value(id).name, self.fact(id))
    }

    /// A shape alone where that says enough.
    fn short(&self, id: ValueId) -> String {
        match self.fact(id) {
            Fact::Tensor(tensor) => tensor.shape.to_string(),
            other => other.to_string(),
        }
    }

    fn terminal(&self, id: ValueId, family: Family) -> Box {
        let name = self.graph.value(id).name.clone();
        let tooltip = format!("{} {}", family.name, self.value(id));
        Box::new(name, vec![self.fact(id).to_string()], tooltip, family, true)
    }

    fn node(&self, id: NodeId, node: &Node) -> Box {
        let label = node.op.label();
        // A fusion's label lists what was fused; the first gives the family.
        let first = label.split([' ', '+']).next().unwrap_or(&label);
        let mut lines: Vec<String> =
            node.outputs.iter().flatten().take(1).map(|&id| self.short(id)).collect();
        // The greatest constant is the weight, if any.
        let constants = node.inputs.iter().flatten().filter(|&&id| self.constant(id).is_some());
        let weight = constants.max_by_key(|&&id| self.constant(id).map_or(0, Tensor::len));
        if let Some(&weight) = weight.filter(|&&id| self.constant(id).is_some_and(|tensor| tensor.len() > 1))
        {
            lines.push(format!("w {}", self.short(weight)));
        }
        Box::new(label.clone(), lines, self.tooltip(id, node), family::family(first), false)
    }

    fn tooltip(&self, id: NodeId, node: &Node) -> String {
        let mut text = format!("{} ({})", node.name, node.op.label());
        let mut line = |what: &str| {
            let _ = write!(text, "\n{}", cut(what, TOOLTIP_LINE));
        };
        line(&format!("{:?}", node.op));
        for input in &node.inputs {
            line(&format!("in   {}", input.map_or("left out".into(), |id| self.value(id))));
        }
        for output in &node.outputs {
            line(&format!("out  {}", output.map_or("not needed".into(), |id| self.value(id))));
        }
        if let Some(planned) = self.knowledge.planned.iter().find(|planned| planned.id == id) {
            line(&format!("on {}, kernel {}", planned.placement.device, planned.placement.kernel));
            if let Some(reason) = &planned.placement.reason {
                line(reason);
            }
            let flops = quantity::count(planned.flops as f64);
            line(&format!("{flops}FLOP, {} read and written", quantity::bytes(planned.bytes)));
        }
        text
    }
}

impl Box {
    fn new(title: String, lines: Vec<String>, tooltip: String, family: Family, terminal: bool) -> Box {
        let title = cut(&title, LINE);
        let lines: Vec<String> = lines.iter().map(|line| cut(line, LINE)).collect();
        let characters = |text: &String| text.chars().count() as f64;
        let widest = lines.iter().map(|line| characters(line) * CHARACTER.1);
        let width = widest.fold(characters(&title) * CHARACTER.0, f64::max) + 20.0;
        let height = LINE_HEIGHT.0 + LINE_HEIGHT.1 * lines.len() as f64;
        Box { title, lines, tooltip, family, terminal, width: width.max(56.0), height }
    }
}
