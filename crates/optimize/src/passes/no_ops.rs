//! Removes nodes that give their first input back.

use inferrum_graph::{Fact, Graph, GraphError, Node};
use inferrum_ops::reshape::Reshape;

use crate::index::operator;

/// Makes the users of a no-op use its input.
///
/// # Errors
/// None; the type is that of every pass.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let mut removed = 0;
    for index in 0..graph.nodes().len() {
        let node = &graph.nodes()[index];
        let (Some(&Some(input)), [Some(output), rest @ ..]) = (node.inputs.first(), &node.outputs[..]) else {
            continue;
        };
        let output = *output;
        // An output of the graph keeps the name of its own value.
        if rest.iter().any(Option::is_some) || graph.outputs.contains(&output) || !is_no_op(graph, node) {
            continue;
        }
        graph.replace_uses(output, input);
        removed += 1;
    }
    Ok(removed)
}

fn is_no_op(graph: &Graph, node: &Node) -> bool {
    let fact = |ids: &[Option<inferrum_graph::ValueId>]| {
        ids.first().copied().flatten().map(|id| graph.fact(id).clone())
    };
    let same = fact(&node.inputs)
        .zip(fact(&node.outputs))
        .is_some_and(|(input, output)| same_shape(&input, &output));
    operator::<Reshape>(node).is_some() && same
}

/// Whether both are certainly of one type and shape.
fn same_shape(a: &Fact, b: &Fact) -> bool {
    let (Some(a), Some(b)) = (a.as_tensor(), b.as_tensor()) else { return false };
    let (Some(x), Some(y)) = (a.shape.dims(), b.shape.dims()) else { return false };
    a.dtype == b.dtype && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.same(y))
}
