//! Removes nodes that give their first input back.

use inferrum_graph::{Fact, Graph, GraphError, Node, NodeId, ValueId};
use inferrum_ops::cast::{Cast, CastLike};
use inferrum_ops::concat::Concat;
use inferrum_ops::dropout::Dropout;
use inferrum_ops::expand::Expand;
use inferrum_ops::flatten::Flatten;
use inferrum_ops::identity::Identity;
use inferrum_ops::pad::Pad;
use inferrum_ops::reshape::Reshape;
use inferrum_ops::slice::Slice;
use inferrum_ops::squeeze::Squeeze;
use inferrum_ops::transpose::Transpose;
use inferrum_ops::unsqueeze::Unsqueeze;

use crate::index::operator;

/// Position of the pads among the inputs of `Pad`.
const PADS: usize = 1;
/// Position of the flag among the inputs of `Dropout`.
const TRAINING: usize = 2;
/// Position of the steps among the inputs of `Slice`.
const STEPS: usize = 4;

/// Makes the users of a no-op use its input.
///
/// # Errors
/// None; the type is that of every pass.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let mut producers = graph.producers();
    let mut removed = 0;
    for index in 0..graph.nodes().len() {
        let node = &graph.nodes()[index];
        let (Some(&Some(input)), [Some(output), rest @ ..]) = (node.inputs.first(), &node.outputs[..]) else {
            continue;
        };
        let output = *output;
        if rest.iter().any(Option::is_some) || !is_no_op(graph, node) {
            continue;
        }
        if !graph.outputs.contains(&output) {
            learn(graph, input, output);
            graph.replace_uses(output, input);
        } else if !moved_up(graph, &mut producers, input, output) {
            continue;
        }
        graph.nodes_mut()[index].outputs.fill(None);
        removed += 1;
    }
    graph.nodes_mut().retain(|node| node.outputs.iter().any(Option::is_some));
    Ok(removed)
}

/// Makes the producer of `input` give `output`, an output of the graph, which keeps the name of its own value. False when
/// `input` has no producer, or is an output of the graph too.
fn moved_up(graph: &mut Graph, producers: &mut [Option<NodeId>], input: ValueId, output: ValueId) -> bool {
    let Some(producer) = producers[input.index()].filter(|_| !graph.outputs.contains(&input)) else {
        return false;
    };
    learn(graph, output, input);
    graph.replace_uses(input, output);
    for slot in graph.nodes_mut()[producer.0].outputs.iter_mut().filter(|slot| **slot == Some(input)) {
        *slot = Some(output);
    }
    producers[output.index()] = Some(producer);
    true
}

/// Adds to what is known of `value` what is known of its equal, unless it is an input of the graph.
fn learn(graph: &mut Graph, value: ValueId, equal: ValueId) {
    if let Some(fact) = graph.fact(value).merge(graph.fact(equal)).filter(|_| !graph.inputs.contains(&value))
    {
        graph.value_mut(value).fact = fact;
    }
}

fn is_no_op(graph: &Graph, node: &Node) -> bool {
    let fact = |ids: &[Option<ValueId>]| ids.first().copied().flatten().map(|id| graph.fact(id));
    let (Some(input), Some(output)) = (fact(&node.inputs), fact(&node.outputs)) else { return false };
    let constant = |index: usize| node.inputs.get(index).copied().flatten().map(|id| graph.constant(id));
    let every = |index: usize, accepts: fn(i64) -> bool| {
        let elements = constant(index).flatten().and_then(|constant| constant.to_i64().ok());
        elements.is_some_and(|elements| elements.into_iter().all(accepts))
    };
    if let Some(dropout) = operator::<Dropout>(node) {
        return !dropout.may_train || every(TRAINING, |training| training == 0);
    }
    if operator::<Concat>(node).is_some() {
        return node.inputs.len() == 1;
    }
    if let Some(transpose) = operator::<Transpose>(node) {
        let rank = input.as_tensor().and_then(|input| input.shape.rank());
        let perm = rank.and_then(|rank| transpose.permutation(rank).ok());
        return perm.is_some_and(|perm| perm.into_iter().enumerate().all(|(to, from)| to == from));
    }
    if operator::<Slice>(node).is_some() {
        // Of one extent before and after, and not backwards: the whole.
        return same_shape(input, output) && (constant(STEPS).is_none() || every(STEPS, |step| step > 0));
    }
    if operator::<Pad>(node).is_some() {
        return every(PADS, |pad| pad == 0);
    }
    operator::<Identity>(node).is_some()
        || (is_cast(node) && same_type(input, output))
        || (is_view(node) && same_shape(input, output))
}

fn is_cast(node: &Node) -> bool {
    operator::<Cast>(node).is_some() || operator::<CastLike>(node).is_some()
}

/// Whether the output's elements are certainly the input's, in their order, if there are as many.
fn is_view(node: &Node) -> bool {
    operator::<Reshape>(node).is_some()
        || operator::<Flatten>(node).is_some()
        || operator::<Squeeze>(node).is_some()
        || operator::<Unsqueeze>(node).is_some()
        || operator::<Expand>(node).is_some()
}

fn same_type(a: &Fact, b: &Fact) -> bool {
    a.as_tensor().zip(b.as_tensor()).is_some_and(|(a, b)| a.dtype == b.dtype)
}

/// Whether both are certainly of one type and shape.
fn same_shape(a: &Fact, b: &Fact) -> bool {
    let (Some(x), Some(y)) = (a.as_tensor(), b.as_tensor()) else { return false };
    let (Some(x), Some(y)) = (x.shape.dims(), y.shape.dims()) else { return false };
    same_type(a, b) && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.same(y))
}

#[cfg(test)]
mod tests {
    use super::super::super::fusions::testing::{Builder, optimized};
    use inferrum_graph::Attr;

    /// What is left of an operator between two others.
    fn between(
        shape: &[usize],
        build: impl Fn(&mut Builder, inferrum_graph::ValueId) -> inferrum_graph::ValueId,
    ) -> Vec<String> {
        let mut b = Builder::new();
        let x = b.input(shape);
        let x = b.op("Softmax", &[], &[x]);
        let y = build(&mut b, x);
        let y = b.op("LogSoftmax", &[], &[y]);
        optimized(b, y)
    }

    const NOTHING: [&str; 2] = ["Softmax", "LogSoftmax"];

    #[test]
    fn what_changes_nothing_goes() {
        assert_eq!(between(&[2, 3], |b, x| b.op("Identity", &[], &[x])), NOTHING);
        assert_eq!(between(&[2, 3], |b, x| b.op("Dropout", &[], &[x])), NOTHING);
        assert_eq!(between(&[2, 3], |b, x| b.op("Cast", &[("to", Attr::Int(1))], &[x])), NOTHING);
        assert_eq!(
            between(&[2, 3], |b, x| b.op("Transpose", &[("perm", Attr::Ints(vec![0, 1]))], &[x])),
            NOTHING
        );
        assert_eq!(between(&[2, 3], |b, x| b.op("Flatten", &[], &[x])), NOTHING);
        assert_eq!(between(&[2, 3], |b, x| b.op("Concat", &[("axis", Attr::Int(0))], &[x])), NOTHING);
        assert_eq!(
            between(&[2, 3], |b, x| {
                let s = b.ints(&[1, 3]);
                b.op("Expand", &[], &[x, s])
            }),
            NOTHING
        );
        assert_eq!(
            between(&[2, 3], |b, x| {
                let s = b.ints(&[0, -1]);
                b.op("Reshape", &[], &[x, s])
            }),
            NOTHING
        );
        assert_eq!(
            between(&[2, 3], |b, x| {
                let s = b.ints(&[0; 4]);
                b.op("Pad", &[], &[x, s])
            }),
            NOTHING
        );
        let whole = |b: &mut Builder, x| {
            let (start, end, axis) = (b.ints(&[0]), b.ints(&[i64::MAX]), b.ints(&[1]));
            b.op("Slice", &[], &[x, start, end, axis])
        };
        assert_eq!(between(&[2, 3], whole), NOTHING);
    }

    #[test]
    fn what_only_keeps_the_shape_stays() {
        let swap = |b: &mut Builder, x| b.op("Transpose", &[], &[x]);
        assert_eq!(between(&[3, 3], swap), ["Softmax", "Transpose", "LogSoftmax"]);
        let backwards = |b: &mut Builder, x| {
            let (start, end, axis, step) = (b.ints(&[-1]), b.ints(&[i64::MIN]), b.ints(&[1]), b.ints(&[-1]));
            b.op("Slice", &[], &[x, start, end, axis, step])
        };
        assert_eq!(between(&[2, 3], backwards), ["Softmax", "Slice", "LogSoftmax"]);
        let shifted = |b: &mut Builder, x| {
            let s = b.ints(&[0, 1, 0, -1]);
            b.op("Pad", &[], &[x, s])
        };
        assert_eq!(between(&[2, 3], shifted), ["Softmax", "Pad", "LogSoftmax"]);
        let wide = |b: &mut Builder, x| b.op("Cast", &[("to", Attr::Int(11))], &[x]);
        assert_eq!(between(&[2, 3], wide), ["Softmax", "Cast", "LogSoftmax"]);
    }

    #[test]
    fn an_output_of_the_graph_keeps_its_value() {
        let mut b = Builder::new();
        let x = b.input(&[2, 3]);
        let y = b.op("Softmax", &[], &[x]);
        let y = b.op("Identity", &[], &[y]);
        assert_eq!(optimized(b, y), ["Softmax"]);
        let mut b = Builder::new();
        let x = b.input(&[2, 3]);
        let y = b.op("Identity", &[], &[x]);
        assert_eq!(optimized(b, y), ["Identity"]);
    }
}
