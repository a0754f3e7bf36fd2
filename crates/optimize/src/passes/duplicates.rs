//! Common subexpressions: of nodes that compute the same, one is enough.

use std::collections::HashMap;

use inferrum_graph::{Graph, GraphError, Node, OpKey, ValueId};

/// Makes the users of a repeated node use the first one's outputs.
///
/// # Errors
/// None; the type is that of every pass.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let mut first: HashMap<(OpKey, String, Vec<Option<ValueId>>), usize> = HashMap::new();
    let mut replaced = 0;
    for index in 0..graph.nodes().len() {
        let node = &graph.nodes()[index];
        if !node.op.is_pure() || node.op.control().is_some() {
            continue;
        }
        let key = (node.op.key(), format!("{:?}", node.op), node.inputs.clone());
        match first.get(&key) {
            None => drop(first.insert(key, index)),
            Some(&earlier) => replaced += usize::from(merge(graph, earlier, index)),
        }
    }
    Ok(replaced)
}

/// Makes users of node `later` use node `earlier`; false when they use an output that `earlier` does not give.
fn merge(graph: &mut Graph, earlier: usize, later: usize) -> bool {
    let outputs = |node: &Node| node.outputs.clone();
    let (from, to) = (outputs(&graph.nodes()[later]), outputs(&graph.nodes()[earlier]));
    let covered =
        from.iter().enumerate().all(|(i, id)| id.is_none() || to.get(i).copied().flatten().is_some());
    let is_output = from.iter().flatten().any(|id| graph.outputs.contains(id));
    if !covered || is_output {
        return false;
    }
    for (from, to) in from.into_iter().zip(to) {
        if let (Some(from), Some(to)) = (from, to) {
            graph.replace_uses(from, to);
        }
    }
    graph.nodes_mut()[later].outputs.fill(None);
    true
}
