//! Chains of element-wise operators become one node, so that a device passes over memory once.
//!
//! A chain is a root and what it is computed from, as long as every result on the way is an element for each element of
//! the root's output and serves the chain alone. A result that is broadcast to the output stays a node of its own: it
//! would be computed again and again. So do integers, and results that are rounded to a narrow float: a chain computes
//! in f32, and each of its steps gives the bits that the operator gives on its own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use inferrum_graph::{Fact, Graph, GraphError, Node, ValueId};
use inferrum_ops::cast::Cast;
use inferrum_ops::clip::Clip;
use inferrum_ops::expression;
use inferrum_ops::fused::elementwise::{Elementwise, Operand, Step};
use inferrum_tensor::DType;

use super::epilogue::same_shape;
use crate::Index;
use crate::index::operator;

/// Most steps of a chain.
const MOST_STEPS: usize = 32;
/// Most inputs of a chain that are not constants of one element. Kernels hold a block of each, and of each result that is
/// alive, in near memory.
const MOST_INPUTS: usize = 8;
/// Most results that wait for their last use at once.
const MOST_ALIVE: usize = 6;

/// Makes a node of every chain of two operators or more.
///
/// # Errors
/// None; the type is that of every pass.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let index = Index::new(graph);
    let mut taken = vec![false; graph.nodes().len()];
    let mut count = 0;
    for root in (0..graph.nodes().len()).rev() {
        if taken[root] || !is_step(graph, &graph.nodes()[root]) {
            continue;
        }
        let chain = chain(graph, &index, root, &taken);
        if chain.len() > 1 && computes_floats(graph, &chain) {
            chain.iter().for_each(|&member| taken[member] = true);
            replace(graph, &chain);
            count += 1;
        }
    }
    Ok(count)
}

/// The chain that ends with the node `root`: its nodes in order.
fn chain(graph: &Graph, index: &Index, root: usize, taken: &[bool]) -> Vec<usize> {
    let producers = |member: usize| {
        graph.nodes()[member]
            .inputs
            .iter()
            .flatten()
            .filter_map(|&value| index.producer(value))
            .map(|id| id.0)
    };
    // From the root backwards.
    let mut members = vec![root];
    let mut candidates: BTreeSet<usize> = producers(root).collect();
    // Whoever takes a candidate's result stands after it, so that it has been decided on before.
    while let Some(candidate) = candidates.pop_last() {
        if members.len() == MOST_STEPS {
            break;
        }
        if taken[candidate] || !joins(graph, index, candidate, &members) {
            continue;
        }
        members.push(candidate);
        if fits(graph, &members) {
            candidates.extend(producers(candidate));
        } else {
            members.pop();
        }
    }
    members.reverse();
    members
}

/// Whether a node can be part of a chain, at its end if nowhere else.
fn is_step(graph: &Graph, node: &Node) -> bool {
    let dtype = |value: &ValueId| graph.fact(*value).as_tensor().map(|tensor| tensor.dtype);
    let all = |values: &[Option<ValueId>], accepts: fn(DType) -> bool| {
        values.iter().flatten().all(|value| dtype(value).is_some_and(accepts))
    };
    if node.outputs.len() != 1 || node.outputs[0].is_none() {
        return false;
    }
    if operator::<Cast>(node).is_some() {
        return all(&node.inputs, is_real) && all(&node.outputs, is_real);
    }
    expression(node.op.as_ref()).is_some() && all(&node.inputs, is_exact) && all(&node.outputs, is_exact)
}

/// Types of results on the way: those that f32 holds. A device may keep more digits than float16 has.
fn is_exact(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::Bool)
}

/// Types between which a chain may cast.
fn is_real(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::Bool)
}

/// Whether a node can stand before the members of a chain: its result goes to them only and has the shape of theirs.
fn joins(graph: &Graph, index: &Index, candidate: usize, members: &[usize]) -> bool {
    let node = &graph.nodes()[candidate];
    let &[Some(output)] = &node.outputs[..] else { return false };
    // What the model itself casts to float16 is rounded.
    let rounds = operator::<Cast>(node).is_some_and(|cast| cast.to == DType::F16);
    let exact = !rounds && graph.fact(output).as_tensor().is_some_and(|tensor| is_exact(tensor.dtype));
    let users = index.consumers(output);
    exact
        && is_step(graph, node)
        && !index.is_output(output)
        && users.iter().all(|user| members.contains(&user.0))
        && users.iter().any(|user| keeps_shape(graph, &graph.nodes()[user.0], output))
}

/// Whether a node's output certainly has the shape of its input `value`.
fn keeps_shape(graph: &Graph, node: &Node, value: ValueId) -> bool {
    if node.outputs.iter().flatten().any(|&output| same_shape(graph, output, value)) {
        return true;
    }
    // Extents are not known; but what is of one element changes none, nor do bounds.
    let first = node.inputs.first().copied().flatten() == Some(value);
    let rank = graph.fact(value).as_tensor().and_then(|tensor| tensor.shape.rank());
    let others = node.inputs.iter().flatten().filter(|&&other| other != value);
    (operator::<Clip>(node).is_some() && first)
        || others.into_iter().all(|&other| is_single(graph.fact(other), rank))
}

/// Whether a value is one element, of no more axes than `rank`.
fn is_single(fact: &Fact, rank: Option<usize>) -> bool {
    let dims = fact.as_tensor().and_then(|tensor| tensor.shape.dims());
    dims.is_some_and(|dims| dims.len() <= rank.unwrap_or(0) && dims.iter().all(|dim| dim.known() == Some(1)))
}

/// Whether kernels can hold what a chain, given from its end, keeps near.
fn fits(graph: &Graph, members: &[usize]) -> bool {
    let nodes = || members.iter().map(|&member| &graph.nodes()[member]);
    let results: BTreeSet<ValueId> =
        nodes().flat_map(|node| node.outputs.iter().flatten().copied()).collect();
    let mut inputs = BTreeSet::new();
    let mut alive = BTreeSet::new();
    let mut most = 0;
    for node in nodes() {
        // Backwards: a result is alive from its last use to where it is made.
        node.outputs.iter().flatten().for_each(|output| _ = alive.remove(output));
        for &value in node.inputs.iter().flatten() {
            let single = graph.constant(value).is_some_and(|constant| constant.len() == 1);
            if results.contains(&value) {
                alive.insert(value);
            } else if !single {
                inputs.insert(value);
            }
        }
        most = most.max(alive.len());
    }
    inputs.len() <= MOST_INPUTS && most <= MOST_ALIVE
}

/// Whether a chain computes with floats, and not with truth values alone.
fn computes_floats(graph: &Graph, members: &[usize]) -> bool {
    let float =
        |value: &ValueId| graph.fact(*value).as_tensor().is_some_and(|tensor| tensor.dtype != DType::Bool);
    members.iter().any(|&member| graph.nodes()[member].inputs.iter().flatten().any(float))
}

/// Puts a chain in the place of its last node. The others are left without use.
fn replace(graph: &mut Graph, members: &[usize]) {
    let (Some(&first), Some(&last)) = (members.first(), members.last()) else { return };
    let mut inputs: Vec<Option<ValueId>> = Vec::new();
    let mut results: HashMap<ValueId, usize> = HashMap::new();
    let mut steps = Vec::with_capacity(members.len());
    for (position, &member) in members.iter().enumerate() {
        let node = &graph.nodes()[member];
        let mut operand = |value: ValueId| match results.get(&value) {
            Some(&step) => Operand::Step(step),
            None => {
                Operand::Input(inputs.iter().position(|input| *input == Some(value)).unwrap_or_else(|| {
                    inputs.push(Some(value));
                    inputs.len() - 1
                }))
            }
        };
        let operands = node.inputs.iter().map(|input| input.map(&mut operand)).collect();
        steps.push(Step { op: Arc::clone(&node.op), operands });
        results.extend(node.outputs.iter().flatten().map(|&output| (output, position)));
    }
    let name = format!("{}..{}", graph.nodes()[first].name, graph.nodes()[last].name);
    let node = &mut graph.nodes_mut()[last];
    *node = Node { name, op: Arc::new(Elementwise { steps }), inputs, outputs: node.outputs.clone() };
}

#[cfg(test)]
mod tests;
