//! `DynamicQuantizeMatMul` as the operators that it stands for, which have kernels of their own.

use std::sync::Arc;

use inferrum_graph::{Graph, GraphError, Node, NodeId};
use inferrum_ops::dynamic_quantize::DynamicQuantizeLinear;
use inferrum_ops::matmul_integer::{DynamicQuantizeMatMul, MatMulIntegerToFloat};

use crate::index::operator;

/// `DynamicQuantizeMatMul` becomes `DynamicQuantizeLinear` and `MatMulIntegerToFloat`.
///
/// # Errors
/// An operator refuses its inputs.
pub fn run(graph: &mut Graph) -> Result<usize, GraphError> {
    let mut count = 0;
    for id in (0..graph.nodes().len()).map(NodeId) {
        let node = &graph.nodes()[id.0];
        if operator::<DynamicQuantizeMatMul>(node).is_none() {
            continue;
        }
        let name = node.name.clone();
        let of = |place: usize| node.inputs.get(place).copied().flatten();
        let [a, b, b_scale, b_zero, bias] = [0, 1, 2, 3, 4].map(of);
        let op = Arc::new(DynamicQuantizeLinear);
        let quantized = graph.add_node(format!("{name}.quantized"), op, vec![a])?;
        let outputs = graph.infer_node(&graph.nodes()[graph.nodes().len() - 1])?;
        let mut values = vec![Some(quantized)];
        for (what, fact) in ["scale", "zero"].into_iter().zip(outputs.into_iter().skip(1)) {
            values.push(Some(graph.add_value(format!("{name}.{what}"), fact)));
        }
        if let Some(last) = graph.nodes_mut().last_mut() {
            last.outputs = values.clone();
        }
        let node: &mut Node = &mut graph.nodes_mut()[id.0];
        node.op = Arc::new(MatMulIntegerToFloat);
        node.inputs = vec![values[0], b, values[1], b_scale, values[2], b_zero, bias];
        count += 1;
    }
    if count > 0 {
        graph.sort()?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_graph::{Fact, interpret};
    use inferrum_tensor::{DType, Tensor, Value};

    #[test]
    fn the_parts_give_the_same_bits() {
        let mut graph = Graph::new("test");
        let numbers = |count: usize| (0..count).map(|i| (i as f32 * 0.7).sin() * 3.0).collect::<Vec<f32>>();
        let x = Tensor::from_vec([5, 17], numbers(85)).unwrap();
        let w: Vec<i64> = (0..51).map(|i| i * 37 % 256 - 128).collect();
        let a = graph.add_input("a", Fact::tensor(DType::F32, x.shape()));
        let b = graph.add_constant("b", Tensor::from_i64(DType::I8, [17, 3], &w).unwrap());
        let scale = graph.add_constant("scale", Tensor::vector(vec![0.01f32, 0.02, 0.003]));
        let zero = graph.add_constant("zero", Tensor::vector(vec![3i8, -4, 0]));
        let bias = graph.add_constant("bias", Tensor::vector(vec![0.5f32, -1.0, 7.0]));
        let inputs = [a, b, scale, zero, bias].map(Some).to_vec();
        let y = graph.add_node("product", Arc::new(DynamicQuantizeMatMul), inputs).unwrap();
        graph.outputs = vec![y];
        let feeds = || vec![Value::Tensor(x.clone())];
        let want = interpret(&graph, feeds()).unwrap();
        assert_eq!(run(&mut graph).unwrap(), 1);
        assert_eq!(graph.nodes().len(), 2);
        assert_eq!(interpret(&graph, feeds()).unwrap()[0].as_tensor(), want[0].as_tensor());
    }
}
