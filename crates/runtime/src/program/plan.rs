//! What a run with given shapes will do, without running it.

use inferrum_backend::{BoundNode, NodePlacement};
use inferrum_graph::{Fact, NodeId};

use super::Program;
use super::signature::Signature;
use super::stage::{End, Stage, Step};
use crate::Error;

/// What a run with given input shapes does and takes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The nodes that run, in order. Nodes whose outputs follow from shapes are absent.
    pub nodes: Vec<PlannedNode>,
    /// What is known of each value of [`crate::Session::graph`], by [`inferrum_graph::ValueId::index`].
    pub facts: Vec<Fact>,
    /// Bytes of intermediate values and scratch memory.
    pub workspace_bytes: usize,
    /// Whether this is the whole run. If not, the rest has shapes that depend on elements which only a run knows.
    pub complete: bool,
}

/// A node of a plan.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    /// The node of [`crate::Session::graph`].
    pub id: NodeId,
    /// Where it runs.
    pub placement: NodePlacement,
    /// Arithmetic operations; those of bodies are not counted.
    pub flops: u64,
    /// Bytes of its inputs and outputs.
    pub bytes: u64,
}

impl Plan {
    /// Arithmetic operations of all nodes.
    pub fn flops(&self) -> u64 {
        self.nodes.iter().fold(0, |sum, node| sum.saturating_add(node.flops))
    }
}

/// The plan for inputs of concrete shape.
pub(super) fn plan(program: &Program, inputs: &[Fact]) -> Result<Plan, Error> {
    let signature = Signature::of_facts(&inputs.iter().collect::<Vec<_>>());
    let stage = program.first_stage(signature, || inputs.to_vec())?;
    let mut nodes = Vec::new();
    let mut workspace_bytes = 0;
    let mut complete = matches!(stage.end, End::Finish);
    for step in &stage.steps {
        match step {
            Step::Region { executable, nodes: ids, .. } => {
                workspace_bytes = workspace_bytes.max(executable.workspace_bytes());
                let placed = ids.iter().zip(executable.placement());
                nodes.extend(placed.map(|(&id, placement)| node(program, &stage, id, placement.clone())));
            }
            Step::Host(id) => {
                let placement = super::bind::host_placement(program, *id, super::bind::REFERENCE);
                nodes.push(node(program, &stage, *id, placement));
            }
            Step::Control(id) => {
                let placement = super::bind::host_placement(program, *id, super::bind::CONTROL);
                nodes.push(node(program, &stage, *id, placement));
                complete = false;
            }
        }
    }
    Ok(Plan { nodes, facts: stage.facts.clone(), workspace_bytes, complete })
}

fn node(program: &Program, stage: &Stage, id: NodeId, placement: NodePlacement) -> PlannedNode {
    let node = &program.graph.nodes()[id.0];
    let fact = |value: &Option<inferrum_graph::ValueId>| value.map(|value| &stage.facts[value.index()]);
    let bound = BoundNode {
        node,
        inputs: node.inputs.iter().map(fact).collect(),
        outputs: node.outputs.iter().map(fact).collect(),
    };
    PlannedNode { id, placement, flops: bound.flops(), bytes: bound.bytes() }
}
