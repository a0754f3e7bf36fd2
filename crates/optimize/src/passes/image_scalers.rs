//! `ImageScaler` becomes a product and a sum, of which every device has kernels and fusions.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, NodeId};
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::image_scaler::ImageScaler;
use inferrum_tensor::{DType, Tensor};

use crate::index::operator;

/// Writes `scale * x + bias` for float32 images.
///
/// # Errors
/// None; the type is that of every pass.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        let node = &graph.nodes()[id.0];
        let Some(scaler) = operator::<ImageScaler>(node).cloned() else { continue };
        let Some(x) = node.inputs.first().copied().flatten() else { continue };
        if graph.fact(x).as_tensor().is_none_or(|tensor| tensor.dtype != DType::F32) {
            continue;
        }
        let name = node.name.clone();
        let bias = Tensor::vector(scaler.bias).reshape([scaler_channels(graph, id), 1, 1]);
        let Ok(bias) = bias else { continue };
        let scale = graph.add_constant(format!("{name}.scale"), Tensor::scalar(scaler.scale));
        let bias = graph.add_constant(format!("{name}.bias"), bias);
        let product = Arc::new(Binary::new(BinaryKind::Mul));
        let scaled = graph.add_node(format!("{name}.product"), product, vec![Some(x), Some(scale)])?;
        let node = &mut graph.nodes_mut()[id.0];
        node.op = Arc::new(Binary::new(BinaryKind::Add));
        node.inputs = vec![Some(scaled), Some(bias)];
        count += 1;
    }
    if count > 0 {
        graph.sort()?;
    }
    Ok(count)
}

fn scaler_channels(graph: &Graph, id: NodeId) -> usize {
    operator::<ImageScaler>(&graph.nodes()[id.0]).map_or(0, |scaler| scaler.bias.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusions::testing::{Builder, optimized};
    use inferrum_graph::Attr;

    #[test]
    fn a_scaler_is_a_product_and_a_sum() {
        for shape in [[1, 3, 5, 7], [2, 3, 1, 1]] {
            let mut b = Builder::new();
            let x = b.input(&shape);
            let attrs = [("scale", Attr::Float(0.7)), ("bias", Attr::Floats(vec![0.5, -3.0, 120.25]))];
            let y = b.op("ImageScaler", &attrs, &[x]);
            assert_eq!(optimized(b, y), ["Mul", "Add"]);
        }
    }

    #[test]
    fn doubles_are_left_alone() {
        let mut b = Builder::new();
        let x = b.input_of(DType::F64, &[1, 1, 2, 2]);
        let y = b.op("ImageScaler", &[("bias", Attr::Floats(vec![0.5]))], &[x]);
        b.0.outputs = vec![y];
        assert_eq!(run(&mut b.0).unwrap(), 0);
    }
}
