//! Device-neutral graph rewrites of Inferrum: one per file, each equal in meaning to what it replaces.
//!
//! A pass replaces nodes in place and leaves what became useless to [`passes::dead_code`]. The passes run in the order of
//! the table until none finds anything more, then those that come last run once. Bodies of control-flow nodes are rewritten too.

pub mod fusions;
mod index;
pub mod passes;
pub mod pattern;

use std::collections::BTreeMap;
use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, NodeId};

pub use index::Index;

/// A rewrite: how often it was applied.
pub type Pass = fn(&mut Graph) -> Result<usize, GraphError>;

/// The table of passes, in order.
pub const PASSES: &[(&str, Pass)] = &[
    ("constant folding", passes::constants::run),
    ("no-op elimination", passes::no_ops::run),
    ("transpose elimination", passes::transposes::run),
    ("reshape elimination", passes::reshapes::run),
    ("common subexpressions", passes::duplicates::run),
    ("integer products", fusions::integer_products::run),
    ("quantisation round trips", fusions::quantized::run),
    ("normalisation patterns", fusions::layer_norm::run),
    ("activation patterns", fusions::activations::run),
    ("attention", fusions::attention::run),
    ("convolution epilogues", fusions::conv::run),
    ("matrix product epilogues", fusions::linear::run),
];

/// Passes that run once, when [`PASSES`] have nothing more to find: what they make is no pattern any more.
pub const LAST: &[(&str, Pass)] = &[("element-wise chains", fusions::elementwise::run)];

/// Rounds of all passes at most; each round that goes on has rewritten something.
const ROUNDS: usize = 8;

/// Rewrites a graph into an equal one that runs faster; also gives the rewrites applied, with how often.
///
/// # Errors
/// An operator refuses its inputs.
pub fn optimize(mut graph: Graph) -> Result<(Graph, Vec<(String, usize)>), GraphError> {
    let mut counts = BTreeMap::new();
    rewrite(&mut graph, &mut counts)?;
    Ok((graph, counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()))
}

fn rewrite(graph: &mut Graph, counts: &mut BTreeMap<&'static str, usize>) -> Result<(), GraphError> {
    settle(graph, counts)?;
    round(graph, LAST, counts)?;
    for index in 0..graph.nodes().len() {
        bodies(graph, NodeId(index), counts)?;
    }
    Ok(())
}

/// Runs [`PASSES`] until none finds anything more.
fn settle(graph: &mut Graph, counts: &mut BTreeMap<&'static str, usize>) -> Result<(), GraphError> {
    passes::dead_code::run(graph);
    for _ in 0..ROUNDS {
        if round(graph, PASSES, counts)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Runs each pass once; gives the number of rewrites.
fn round(
    graph: &mut Graph,
    passes: &[(&'static str, Pass)],
    counts: &mut BTreeMap<&'static str, usize>,
) -> Result<usize, GraphError> {
    let mut changed = 0;
    for (name, pass) in passes {
        let count = pass(graph)?;
        if count > 0 {
            crate::passes::dead_code::run(graph);
            *counts.entry(name).or_default() += count;
            changed += count;
        }
    }
    Ok(changed)
}

/// Rewrites the bodies of a control-flow node.
fn bodies(
    graph: &mut Graph,
    id: NodeId,
    counts: &mut BTreeMap<&'static str, usize>,
) -> Result<(), GraphError> {
    passes::captures::tell(graph, id);
    let Some(control) = graph.nodes()[id.0].op.control() else { return Ok(()) };
    let mut rewritten = Vec::new();
    for body in control.bodies() {
        let mut body = Graph::clone(body);
        rewrite(&mut body, counts)?;
        rewritten.push(Arc::new(body));
    }
    let op = control.with_bodies(rewritten);
    graph.nodes_mut()[id.0].op = op;
    Ok(())
}
