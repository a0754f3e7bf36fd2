//! What a graph becomes before it is optimised: types that the adapter does not store become others, and
//! images planar.
//!
//! Where the adapter stores float16, values of that type stay as they are, and only nodes whose kernels do not take them compute
//! in float32, between casts. Elsewhere the whole graph computes in float32. So it always is for bfloat16.

use inferrum_backend::{channels_first, tried, widen, widen_unless};
use inferrum_graph::{Fact, Graph, Node, NodeError};
use inferrum_tensor::DType;

use crate::abilities::Abilities;
use crate::lower::{KERNELS, lower};
use crate::tuner::Forced;

/// The rooms whose kernels take float16, for some shapes and attributes at least.
pub(crate) const HALF: &[&str] = &[
    "arg_max",
    "attention",
    "batch_norm",
    "concat",
    "constant_of_shape",
    "conv",
    "conv_transpose",
    "crop",
    "cum_sum",
    "depth_to_space",
    "elementwise",
    "expand",
    "gather",
    "gather_elements",
    "gather_nd",
    "global_pool",
    "grid_sample",
    "group_norm",
    "group_query_attention",
    "gru",
    "layer_norm",
    "linear",
    "lp_norm",
    "lrn",
    "lstm",
    "matmul",
    "matmul_nbits",
    "one_hot",
    "pad",
    "pool",
    "reduce",
    "resize",
    "rnn",
    "rotary_embedding",
    "scatter",
    "skip_layer_norm",
    "slice",
    "softmax",
    "split",
    "top_k",
    "transpose",
    "trilu",
    "view",
];

/// A graph as an adapter of these abilities takes it.
///
/// # Errors
/// An operator refuses its inputs.
pub(crate) fn legalize(graph: Graph, abilities: &Abilities) -> Result<Graph, NodeError> {
    let graph = channels_first(graph)?;
    if !abilities.f16 {
        return widen(graph);
    }
    widen_unless(graph, &|graph, node| keeps(graph, node, abilities))
}

/// Whether a node of float16 has a kernel that takes it as it is.
fn keeps(graph: &Graph, node: &Node, abilities: &Abilities) -> bool {
    let brain = |fact: &Fact| fact.as_tensor().is_some_and(|tensor| tensor.dtype == DType::BF16);
    if node.inputs.iter().chain(&node.outputs).flatten().any(|id| brain(graph.fact(*id))) {
        return false;
    }
    let half = |room: &str| HALF.contains(&room);
    if !KERNELS.find(node.op.as_ref()).is_some_and(|row| half(row.room)) {
        return false;
    }
    // Where nothing is known of the shapes, the run will tell.
    tried(graph, node, |bound| lower(bound, abilities, &Forced::default()).is_ok()).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_ops::binary::{Binary, BinaryKind};
    use inferrum_ops::cast::Cast;
    use inferrum_ops::det::Det;
    use inferrum_ops::softmax::Softmax;
    use std::any::Any;
    use std::sync::Arc;

    /// Softmax, determinants (which have no kernel), and their sum.
    fn model(dtype: DType) -> Graph {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(dtype, [5, 3, 3]));
        let softmax = Arc::new(Softmax { axis: -1, flatten: false, log: false });
        let y = graph.add_node("softmax", softmax, vec![Some(x)]).unwrap();
        let z = graph.add_node("det", Arc::new(Det), vec![Some(y)]).unwrap();
        let sum = Arc::new(Binary::new(BinaryKind::Add));
        let sum = graph.add_node("sum", sum, vec![Some(z), Some(z)]).unwrap();
        graph.outputs = vec![sum];
        graph
    }

    fn types(graph: &Graph) -> Vec<(String, DType)> {
        let nodes = graph.nodes().iter().filter(|node| !(&*node.op as &dyn Any).is::<Cast>());
        let of = |node: &Node| {
            let fact = graph.fact(node.outputs[0].unwrap());
            (node.name.clone(), fact.as_tensor().unwrap().dtype)
        };
        nodes.map(of).collect()
    }

    #[test]
    fn only_what_no_kernel_takes_is_widened() {
        let every = Abilities::every();
        let [all, none] = [&every[0], &every[7]];
        let named = |dtypes: [DType; 3]| {
            let names = ["softmax", "det", "sum"].map(str::to_owned);
            names.into_iter().zip(dtypes).collect::<Vec<_>>()
        };
        let (half, wide) = (DType::F16, DType::F32);
        let legal = |dtype: DType, abilities: &Abilities| types(&legalize(model(dtype), abilities).unwrap());
        assert_eq!(legal(half, all), named([half, wide, half]));
        assert_eq!(legal(half, none), named([wide; 3]));
        assert_eq!(legal(DType::BF16, all), named([wide; 3]));
    }

    #[test]
    fn every_room_is_there() {
        for half in HALF {
            assert!(crate::KERNELS.iter().any(|row| row.room == *half), "{half}");
        }
    }
}
