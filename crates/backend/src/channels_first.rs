//! Images laid out channels last, as nodes of `com.microsoft` may have them, are planar here: transposes around the operator,
//! which cancel where they meet.

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Graph, Node, NodeError, Operator, ValueId};
use inferrum_ops::fused::channels_last::{ChannelsLast, to_channels_first, to_channels_last};
use inferrum_ops::transpose::Transpose;

/// Takes the operators out of every [`ChannelsLast`] whose images have known ranks.
///
/// # Errors
/// An operator refuses its inputs.
pub fn channels_first(mut graph: Graph) -> Result<Graph, NodeError> {
    let nodes = std::mem::take(graph.nodes_mut());
    for node in nodes {
        let node = match unwrapped(&graph, &node) {
            Some(planar) => planar.write(&mut graph, node)?,
            None => node,
        };
        graph.nodes_mut().push(node);
    }
    Ok(graph)
}

/// An operator on planar images.
struct Planar {
    inner: Arc<dyn Operator>,
    /// Its images, with their ranks.
    images: Vec<(usize, usize)>,
    output_rank: usize,
}

fn unwrapped(graph: &Graph, node: &Node) -> Option<Planar> {
    let last = (node.op.as_ref() as &dyn Any).downcast_ref::<ChannelsLast>()?;
    let rank = |value: ValueId| graph.fact(value).as_tensor()?.shape.rank();
    let &[Some(output)] = &node.outputs[..] else { return None };
    let image = |&image: &usize| Some((image, rank(node.inputs.get(image).copied().flatten()?)?));
    let images = last.images.iter().map(image).collect::<Option<_>>()?;
    Some(Planar { inner: Arc::clone(&last.inner), images, output_rank: rank(output)? })
}

impl Planar {
    /// Writes the operator, and what turns its inputs; gives the node that turns its output.
    fn write(self, graph: &mut Graph, mut node: Node) -> Result<Node, NodeError> {
        let mut inputs = std::mem::take(&mut node.inputs);
        for (image, rank) in self.images {
            let turn = Arc::new(Transpose { perm: Some(to_channels_first(rank)) });
            let name = format!("{}.planar{image}", node.name);
            inputs[image] = Some(graph.add_node(name, turn, vec![inputs[image]])?);
        }
        let planar = graph.add_node(format!("{}.planar", node.name), self.inner, inputs)?;
        node.op = Arc::new(Transpose { perm: Some(to_channels_last(self.output_rank)) });
        node.inputs = vec![Some(planar)];
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_graph::{Fact, interpret};
    use inferrum_ops::qlinear_pool::QLinearPool;
    use inferrum_tensor::{DType, Tensor, Value};

    #[test]
    fn the_same_elements_by_planes() {
        let x = Tensor::from_vec([2, 5, 4, 3], (0..120u8).collect::<Vec<u8>>()).unwrap();
        let mut graph = Graph::new("test");
        let image = graph.add_input("x", Fact::tensor(DType::U8, x.shape()));
        let scale = graph.add_constant("scale", Tensor::scalar(0.5f32));
        let op = ChannelsLast { inner: Arc::new(QLinearPool::Global), images: vec![0] };
        let inputs = vec![Some(image), Some(scale), None, Some(scale)];
        let y = graph.add_node("pool", Arc::new(op), inputs).unwrap();
        graph.outputs = vec![y];
        let feed = || vec![Value::Tensor(x.clone())];
        let want = interpret(&graph, feed()).unwrap();
        let planar = channels_first(graph).unwrap();
        let ops: Vec<String> = planar.nodes().iter().map(|node| node.op.key().op_type.to_owned()).collect();
        assert_eq!(ops, ["Transpose", "QLinearGlobalAveragePool", "Transpose"]);
        assert_eq!(interpret(&planar, feed()).unwrap()[0].as_tensor(), want[0].as_tensor());
    }
}
