//! Problems that the benches share: one operator, or one model, with seeded inputs.

use std::collections::BTreeMap;

use inferrum::graph::{Attr, Fact, Graph, NodeDef};
use inferrum::{DType, Device, Error, Session, Shape, Tensor};

/// A session of one node: an operator of ONNX's own domain with f32 inputs, of which those marked are constants.
///
/// # Panics
/// When the operator does not exist or refuses the inputs: a bench that is wrong should not run.
pub fn single(
    op_type: &str,
    attrs: &[(&str, Attr)],
    inputs: &[(&[usize], bool)],
    threads: usize,
) -> (Session, Vec<Tensor>) {
    let attrs: BTreeMap<String, Attr> =
        attrs.iter().map(|(name, attr)| ((*name).to_owned(), attr.clone())).collect();
    let mut def = NodeDef::new(op_type, 21, attrs);
    def.inputs = vec![true; inputs.len()];
    let op = inferrum_ops::parse("", &mut def).expect("the operator exists").expect("its attributes fit");
    let mut graph = Graph::new(op_type);
    let mut feeds = Vec::new();
    let mut ids = Vec::new();
    for (index, &(shape, constant)) in inputs.iter().enumerate() {
        let tensor = ramp(shape);
        ids.push(Some(if constant {
            graph.add_constant(format!("c{index}"), tensor)
        } else {
            feeds.push(tensor);
            graph.add_input(format!("x{index}"), Fact::tensor(DType::F32, Shape::from(shape)))
        }));
    }
    let output = graph.add_node("node", op, ids).expect("the inputs fit");
    graph.outputs.push(output);
    let session =
        Session::builder().device(Device::Cpu).threads(threads).build(graph).expect("the node compiles");
    (session, feeds)
}

/// Numbers between -1 and 1, always the same.
///
/// # Panics
/// Never: there are as many numbers as elements.
pub fn ramp(shape: &[usize]) -> Tensor {
    let elements = Shape::from(shape).elements();
    let numbers = (0..elements).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect::<Vec<f32>>();
    Tensor::from_vec(shape, numbers).expect("as many numbers as elements")
}

/// A session of a model file, with inputs for the shapes that it states.
///
/// # Errors
/// The model cannot be loaded, or an input has no fixed shape.
pub fn model(path: &std::path::Path, threads: usize) -> Result<(Session, Vec<Tensor>), Error> {
    let session = Session::builder().device(Device::Cpu).threads(threads).load(path)?;
    let feed = |info: &inferrum::ValueInfo| {
        let shape = info.fact.concrete_shape().unwrap_or_else(|| Shape::from([1]));
        match info.fact.as_tensor().map(|tensor| tensor.dtype) {
            Some(DType::F32) => Ok(ramp(&shape)),
            Some(dtype) => Tensor::from_i64(dtype, shape.clone(), &vec![1; shape.elements()]),
            None => Tensor::zeros(DType::F32, shape),
        }
    };
    let feeds = session.inputs().iter().map(feed).collect::<Result<_, _>>()?;
    Ok((session, feeds))
}
