//! What a run with given shapes will do, without running it.

use inferrum_backend::{BoundNode, NodePlacement, Transfers};
use inferrum_graph::{Fact, Facts, NodeId};

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
    /// What crosses between the host and the device, bodies not counted.
    pub transfers: Transfers,
    /// The bodies of the nodes among `nodes` that run bodies (`If`, `Loop`, `Scan`, `SequenceMap`).
    pub bodies: Vec<PlannedBody>,
    /// Whether this is the whole run, but for how often bodies run. If not, the rest has shapes that depend on elements which only a run knows.
    pub complete: bool,
}

/// A node of a plan.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    /// The node of [`crate::Session::graph`].
    pub id: NodeId,
    /// Where it runs.
    pub placement: NodePlacement,
    /// Arithmetic operations; those of bodies are counted with the body.
    pub flops: u64,
    /// Bytes of its inputs and outputs.
    pub bytes: u64,
}

/// A body of a node, as its first call runs it. How often it runs, only a run knows.
#[derive(Clone, Debug)]
pub struct PlannedBody {
    /// The node of the plan's graph that runs it.
    pub id: NodeId,
    /// The node's name.
    pub node: String,
    /// The node's operator.
    pub op: String,
    /// Which of the node's bodies it is; of an `If`, 0 is for true and 1 for false.
    pub index: usize,
    /// One call, or why it cannot be planned: the shapes of what it takes depend on elements that only a run knows, or a
    /// node of it refuses such shapes (of an `If`, this is the branch that is not taken).
    pub plan: Result<Plan, String>,
}

impl Plan {
    /// Arithmetic operations of all nodes; those of bodies are not counted.
    pub fn flops(&self) -> u64 {
        self.nodes.iter().fold(0, |sum, node| sum.saturating_add(node.flops))
    }

    /// Every body that could be planned, bodies of bodies after theirs, with its plan.
    pub fn all_bodies(&self) -> Vec<(&PlannedBody, &Plan)> {
        let mut all = Vec::new();
        for body in &self.bodies {
            if let Ok(plan) = &body.plan {
                all.push((body, plan));
                all.extend(plan.all_bodies());
            }
        }
        all
    }
}

/// The plan for inputs of concrete shape.
pub(super) fn plan(program: &Program, inputs: &[Fact]) -> Result<Plan, Error> {
    let signature = Signature::of_facts(&inputs.iter().collect::<Vec<_>>());
    let stage = program.first_stage(signature, || inputs.to_vec())?;
    let (mut nodes, mut bodies) = (Vec::new(), Vec::new());
    let mut workspace_bytes = 0;
    let complete = matches!(stage.end, End::Finish);
    for step in &stage.steps {
        match step {
            Step::Region { executable, nodes: ids, .. } => {
                workspace_bytes = workspace_bytes.max(executable.workspace_bytes());
                let placed = ids.iter().zip(executable.placement());
                // What was noted says why a node is not where it was asked for.
                let noted =
                    |id, placement: &NodePlacement| program.noted(id).unwrap_or_else(|| placement.clone());
                nodes.extend(placed.map(|(&id, placement)| node(program, &stage, id, noted(id, placement))));
            }
            Step::Host(id) => {
                let placement = super::bind::host_placement(program, *id, super::bind::REFERENCE);
                nodes.push(node(program, &stage, *id, placement));
            }
            Step::Control(id) => {
                let placement = super::bind::host_placement(program, *id, super::bind::CONTROL);
                nodes.push(node(program, &stage, *id, placement));
                bodies.extend(planned_bodies(program, &stage, *id));
            }
        }
    }
    // A body runs when the steps before its node are done, and their memory is free again.
    let of_bodies = bodies.iter().filter_map(|body| body.plan.as_ref().ok()).map(|plan| plan.workspace_bytes);
    let workspace_bytes = of_bodies.fold(workspace_bytes, usize::max);
    let whole = |body: &PlannedBody| body.plan.as_ref().is_ok_and(|plan| plan.complete);
    // One branch is enough, for it may be the only one that such shapes can take.
    let branch = |body: &PlannedBody| body.op == "If" && bodies.iter().any(|b| b.id == body.id && whole(b));
    let complete = complete && bodies.iter().all(|body| whole(body) || (body.plan.is_err() && branch(body)));
    let transfers = super::transfers::of_stage(program, &stage, vec![false; stage.facts.len()]);
    Ok(Plan { nodes, bodies, facts: stage.facts.clone(), workspace_bytes, transfers, complete })
}

fn planned_bodies(program: &Program, stage: &Stage, id: NodeId) -> Vec<PlannedBody> {
    let node = &program.graph.nodes()[id.0];
    let facts: Vec<Option<&Fact>> =
        node.inputs.iter().map(|value| value.map(|value| &stage.facts[value.index()])).collect();
    let Some(control) = node.op.control() else { return Vec::new() };
    let programs = program.bodies.get(&id).map(Vec::as_slice).unwrap_or_default();
    let given = control.body_inputs(Facts(&facts));
    let planned = programs.iter().enumerate().map(|(index, body)| {
        let inputs = given.as_ref().map_err(ToString::to_string).map(|given| given.get(index));
        let plan = inputs.and_then(|inputs| body_plan(body, inputs.map(Vec::as_slice).unwrap_or_default()));
        PlannedBody { id, node: node.name.clone(), op: node.op.label(), index, plan }
    });
    planned.collect()
}

fn body_plan(body: &Program, inputs: &[Fact]) -> Result<Plan, String> {
    for (&id, fact) in body.graph.inputs.iter().zip(inputs) {
        if fact.as_tensor().is_some() && fact.concrete_shape().is_none() {
            let name = &body.graph.value(id).name;
            return Err(format!("the shape of what it takes as `{name}` depends on elements: {fact}"));
        }
    }
    plan(body, inputs).map_err(|error| error.to_string())
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
