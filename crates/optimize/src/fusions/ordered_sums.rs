//! Convolutions of quantised images add in the order that their graphs were calibrated under.

use std::collections::HashSet;
use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, ValueId};
use inferrum_ops::conv::FusedConv;
use inferrum_ops::quantize::DequantizeLinear;

use crate::index::operator;

/// Position of the residual among the inputs of [`FusedConv`].
const RESIDUAL: usize = 3;

/// Marks [`FusedConv`] without a residual whose image comes from `DequantizeLinear`; see [`FusedConv::ordered`].
///
/// # Errors
/// None.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let dequantized: HashSet<ValueId> = graph
        .nodes()
        .iter()
        .filter(|node| operator::<DequantizeLinear>(node).is_some())
        .flat_map(|node| node.outputs.iter().copied().flatten())
        .collect();
    let mut count = 0;
    for node in graph.nodes_mut() {
        let given = |place: usize| node.inputs.get(place).copied().flatten();
        if given(RESIDUAL).is_some() || !given(0).is_some_and(|image| dequantized.contains(&image)) {
            continue;
        }
        if let Some(conv) = operator::<FusedConv>(node).filter(|conv| !conv.ordered) {
            node.op = Arc::new(FusedConv { ordered: true, ..conv.clone() });
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_graph::Fact;
    use inferrum_ops::conv::Conv;
    use inferrum_ops::window::WindowSpec;
    use inferrum_tensor::{DType, Tensor};

    /// Whether a convolution of an image is marked.
    fn marked(quantized: bool, residual: bool) -> bool {
        let mut graph = Graph::new("test");
        let dtype = if quantized { DType::U8 } else { DType::F32 };
        let mut x = graph.add_input("x", Fact::tensor(dtype, [2, 3, 6, 5]));
        if quantized {
            let scale = graph.add_constant("scale", Tensor::scalar(0.5f32));
            let mut def = inferrum_graph::NodeDef::new("DequantizeLinear", 21, Default::default());
            def.inputs = vec![true; 2];
            let dequantize = inferrum_ops::parse("", &mut def).unwrap().unwrap();
            x = graph.add_node("dequantize", dequantize, vec![Some(x), Some(scale)]).unwrap();
        }
        let w = graph.add_constant("w", Tensor::zeros(DType::F32, [4, 3, 3, 3]).unwrap());
        let z = residual.then(|| graph.add_input("z", Fact::tensor(DType::F32, [2, 4, 4, 3])));
        let conv = FusedConv::new(Conv { group: 1, window: WindowSpec::default() }, None);
        let y = graph.add_node("conv", Arc::new(conv), vec![Some(x), Some(w), None, z]).unwrap();
        graph.outputs = vec![y];
        let count = run(&mut graph).unwrap();
        assert_eq!(run(&mut graph).unwrap(), 0, "once is enough");
        let conv = graph.nodes().iter().find_map(|node| operator::<FusedConv>(node)).unwrap();
        assert_eq!(count, usize::from(conv.ordered));
        conv.ordered
    }

    #[test]
    fn only_images_that_were_quantised_and_have_no_residual() {
        assert!(marked(true, false));
        assert!(!marked(false, false) && !marked(true, true));
    }
}
