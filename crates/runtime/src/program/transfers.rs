//! Which values cross between the host and the device, for which node, and why.

use inferrum_backend::{Crossing, NodePlacement, Transfer, Transfers};
use inferrum_graph::{Fact, NodeId, ValueId};

use super::stage::{End, Place, Stage, Step};
use super::{Program, bind, control};

/// Who asks for a value on the host.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// A node that runs there.
    Node(NodeId),
    /// The binding of the stage that begins with this node: its shapes depend on the value's elements.
    Shapes(NodeId),
    /// The caller, for it is an output.
    Caller,
}

/// A value of `bytes` that the host has and a region of the device takes, which holds `nodes`.
pub(super) fn to_device(program: &Program, id: ValueId, bytes: u64, nodes: &[NodeId]) -> Transfer {
    let asker = nodes.iter().find(|node| program.graph.nodes()[node.0].inputs.contains(&Some(id)));
    let (crossing, reason) = if program.graph.inputs.contains(&id) {
        given(program, Crossing::In, "input")
    } else {
        let producer = program.producers[id.index()].map(|node| on_host(program, node));
        (Crossing::ToDevice, producer.unwrap_or_else(|| "the host has it".into()))
    };
    transfer(program, id, bytes, crossing, asker.copied(), reason)
}

/// A value of `bytes` that the device has and the host needs.
pub(super) fn to_host(program: &Program, id: ValueId, bytes: u64, asker: Asker) -> Transfer {
    let (crossing, node, reason) = match asker {
        Asker::Node(node) => (Crossing::ToHost, Some(node), on_host(program, node)),
        Asker::Shapes(node) => {
            let label = label(program, node);
            (Crossing::ToHost, Some(node), format!("{label}: a shape depends on its elements"))
        }
        Asker::Caller => {
            let (crossing, reason) = given(program, Crossing::Out, "output");
            (crossing, None, reason)
        }
    };
    transfer(program, id, bytes, crossing, node, reason)
}

/// An input of `bytes` that lies in the memory of a device which is not the session's.
pub(super) fn from_elsewhere(program: &Program, id: ValueId, bytes: u64, device: &str) -> Transfer {
    transfer(program, id, bytes, Crossing::In, None, format!("it is an input that {device} has"))
}

/// What a value at an end of the graph is: what a body takes and gives is in the middle of the model.
fn given(program: &Program, crossing: Crossing, kind: &str) -> (Crossing, String) {
    match (program.is_body, crossing) {
        (false, crossing) => (crossing, format!("it is an {kind} of the model")),
        (true, Crossing::In) => {
            (Crossing::ToDevice, "it is an input of a body, whose calls the host makes".into())
        }
        (true, _) => (Crossing::ToHost, "it is an output of a body, whose calls the host makes".into()),
    }
}

fn transfer(
    program: &Program,
    id: ValueId,
    bytes: u64,
    crossing: Crossing,
    node: Option<NodeId>,
    reason: String,
) -> Transfer {
    let node = node.map(|node| program.graph.nodes()[node.0].name.clone());
    Transfer { value: program.graph.value(id).name.clone(), bytes, crossing, node, reason }
}

fn label(program: &Program, node: NodeId) -> String {
    let node = &program.graph.nodes()[node.0];
    format!("`{}` ({})", node.name, node.op.label())
}

/// Why a node runs on the host.
fn on_host(program: &Program, id: NodeId) -> String {
    let label = label(program, id);
    match program.noted(id) {
        Some(NodePlacement { reason: Some(reason), .. }) => format!("{label} is declined: {reason}"),
        Some(NodePlacement { hosted: Some(hosted), .. }) => format!("{label}: {hosted}"),
        _ => format!("{label} is the host's"),
    }
}

/// What crosses in a run of a stage whose nodes are noted; `read` tells what earlier stages have read back.
pub(super) fn of_stage(program: &Program, stage: &Stage, read: Vec<bool>) -> Transfers {
    if program.devices.host.is_none() {
        return Transfers::default();
    }
    let mut walk = Walk { program, stage, read, sent: Vec::new(), found: Vec::new() };
    for step in &stage.steps {
        match step {
            Step::Region { place: Place::Device, nodes, inputs, .. } => {
                for &id in inputs {
                    let sent = stage.shared.contains(&id) && walk.sent.contains(&id);
                    if !stage.on_device[id.index()] && !walk.is_of_body(id) && !sent {
                        walk.sent.push(id);
                        walk.found.push(to_device(program, id, bytes(&stage.facts[id.index()]), nodes));
                    }
                }
            }
            Step::Region { place: Place::Host, nodes, inputs, .. } => {
                for &id in inputs {
                    let asker = consumer(program, id, nodes);
                    walk.on_host(id, asker);
                }
            }
            Step::Host(node) => walk.on_host_all(*node, usize::MAX),
            Step::Control(node) => {
                walk.on_host_all(*node, control::read_inputs(&program.graph.nodes()[node.0]));
            }
        }
    }
    match &stage.end {
        End::Continue { at, read, .. } => {
            read.iter().for_each(|&id| walk.on_host(id, Asker::Shapes(NodeId(*at))))
        }
        End::Finish => program.graph.outputs.iter().for_each(|&id| walk.on_host(id, Asker::Caller)),
    }
    Transfers(walk.found)
}

/// The node of a region of the host that takes a value first.
pub(super) fn consumer(program: &Program, id: ValueId, nodes: &[NodeId]) -> Asker {
    let takes = |node: &&NodeId| program.graph.nodes()[node.0].inputs.contains(&Some(id));
    nodes.iter().find(takes).map_or(Asker::Caller, |&node| Asker::Node(node))
}

struct Walk<'a> {
    program: &'a Program,
    stage: &'a Stage,
    /// What the host has read, by [`ValueId::index`].
    read: Vec<bool>,
    /// What went to the device.
    sent: Vec<ValueId>,
    found: Vec<Transfer>,
}

impl Walk<'_> {
    /// The host reads the first inputs of a node.
    fn on_host_all(&mut self, node: NodeId, first: usize) {
        for &id in self.program.graph.nodes()[node.0].inputs.iter().take(first).flatten() {
            self.on_host(id, Asker::Node(node));
        }
    }

    /// Whether a node with bodies gives a value; where that is, only a run knows.
    fn is_of_body(&self, id: ValueId) -> bool {
        let producer = self.program.producers[id.index()].map(|node| &self.program.graph.nodes()[node.0]);
        producer.is_some_and(|node| node.op.control().is_some())
    }

    fn on_host(&mut self, id: ValueId, asker: Asker) {
        let index = id.index();
        if self.stage.on_device[index] && !std::mem::replace(&mut self.read[index], true) {
            self.found.push(to_host(self.program, id, bytes(&self.stage.facts[index]), asker));
        }
    }
}

/// Bytes of a tensor of known shape.
fn bytes(fact: &Fact) -> u64 {
    bind::bytes(fact) as u64
}
