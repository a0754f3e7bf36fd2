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

const INTEGER_PRODUCTS: &str = "integer products";

/// The table of passes, in order.
pub const PASSES: &[(&str, Pass)] = &[
    ("constant folding", passes::constants::run),
    ("no-op elimination", passes::no_ops::run),
    ("contractions", passes::einsum::run),
    ("image scalers", passes::image_scalers::run),
    ("transpose elimination", passes::transposes::run),
    ("reshape elimination", passes::reshapes::run),
    ("common subexpressions", passes::duplicates::run),
    ("dynamic products", fusions::dynamic_products::run),
    (INTEGER_PRODUCTS, fusions::integer_products::run),
    ("quantisation round trips", fusions::quantized::run),
    ("tables", fusions::tables::run),
    ("normalisation patterns", fusions::layer_norm::run),
    ("activation patterns", fusions::activations::run),
    ("attention", fusions::attention::run),
    ("convolution epilogues", fusions::conv::run),
    ("matrix product epilogues", fusions::linear::run),
];

/// Passes that run once, when [`PASSES`] have nothing more to find: what they make is no pattern any more.
pub const LAST: &[(&str, Pass)] =
    &[("ordered sums", fusions::ordered_sums::run), ("element-wise chains", fusions::elementwise::run)];

/// Rounds of all passes at most; each round that goes on has rewritten something.
const ROUNDS: usize = 8;

/// What a device has kernels for, as far as rewrites depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    /// Products and convolutions of 8-bit integers; else they become products of floats where these are exact.
    pub integer_products: bool,
}

impl Target {
    /// The passes of [`PASSES`] that serve it.
    fn passes(self) -> Vec<(&'static str, Pass)> {
        PASSES
            .iter()
            .filter(|(name, _)| !(self.integer_products && *name == INTEGER_PRODUCTS))
            .copied()
            .collect()
    }
}

/// Rewrites a graph into an equal one that runs faster on the processor; also gives the rewrites applied, with how often.
///
/// # Errors
/// An operator refuses its inputs.
pub fn optimize(graph: Graph) -> Result<(Graph, Vec<(String, usize)>), GraphError> {
    optimize_for(graph, Target::default())
}

/// As [`optimize`], for any device.
///
/// # Errors
/// An operator refuses its inputs.
pub fn optimize_for(mut graph: Graph, target: Target) -> Result<(Graph, Vec<(String, usize)>), GraphError> {
    let mut counts = BTreeMap::new();
    rewrite(&mut graph, &target.passes(), &mut counts)?;
    Ok((graph, counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()))
}

fn rewrite(
    graph: &mut Graph,
    passes: &[(&'static str, Pass)],
    counts: &mut BTreeMap<&'static str, usize>,
) -> Result<(), GraphError> {
    settle(graph, passes, counts)?;
    round(graph, LAST, counts)?;
    for index in 0..graph.nodes().len() {
        bodies(graph, NodeId(index), passes, counts)?;
    }
    Ok(())
}

/// Runs passes until none finds anything more.
fn settle(
    graph: &mut Graph,
    passes: &[(&'static str, Pass)],
    counts: &mut BTreeMap<&'static str, usize>,
) -> Result<(), GraphError> {
    crate::passes::dead_code::run(graph);
    for _ in 0..ROUNDS {
        if round(graph, passes, counts)? == 0 {
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
    passes: &[(&'static str, Pass)],
    counts: &mut BTreeMap<&'static str, usize>,
) -> Result<(), GraphError> {
    crate::passes::captures::tell(graph, id);
    let Some(control) = graph.nodes()[id.0].op.control() else { return Ok(()) };
    let mut rewritten = Vec::new();
    for body in control.bodies() {
        let mut body = Graph::clone(body);
        rewrite(&mut body, passes, counts)?;
        rewritten.push(Arc::new(body));
    }
    let op = control.with_bodies(rewritten);
    graph.nodes_mut()[id.0].op = op;
    Ok(())
}
