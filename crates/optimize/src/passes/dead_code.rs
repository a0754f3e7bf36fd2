//! Removes nodes of which no output is needed, and stops asking for single outputs that are not.

use inferrum_graph::{Graph, NodeId};

/// Removes what does not contribute to an output of the graph.
pub fn run(graph: &mut Graph) {
    let mut needed = vec![false; graph.values().len()];
    for id in &graph.outputs {
        needed[id.index()] = true;
    }
    let mut keep = vec![false; graph.nodes().len()];
    for index in (0..graph.nodes().len()).rev() {
        let node = &graph.nodes()[NodeId(index).0];
        if node.outputs.iter().flatten().any(|id| needed[id.index()]) {
            keep[index] = true;
            for id in node.inputs.iter().flatten() {
                needed[id.index()] = true;
            }
        }
    }
    let mut keep = keep.into_iter();
    graph.nodes_mut().retain(|_| keep.next().unwrap_or(true));
    for node in graph.nodes_mut() {
        for output in &mut node.outputs {
            *output = output.filter(|id| needed[id.index()]);
        }
    }
}
