//! What a model asks for is held against the memory that it may take before it is allocated.

use std::collections::BTreeMap;

use inferrum::graph::{Attr, Fact, Graph, NodeDef};
use inferrum::{DType, Session, Tensor};

/// One node whose second input is an int64 constant.
fn model(op_type: &str, attrs: &[(&str, Attr)], x: Fact, constant: &[i64]) -> Graph {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", x);
    let constant = graph.add_constant("constant", Tensor::vector(constant.to_vec()));
    let attrs: BTreeMap<String, Attr> =
        attrs.iter().map(|(name, attr)| ((*name).to_owned(), attr.clone())).collect();
    let mut def = NodeDef::new(op_type, 18, attrs);
    def.inputs = vec![true, true];
    let op = inferrum_ops::parse("", &mut def).expect("it exists").expect("it is well-formed");
    let y = graph.add_node("the_node", op, vec![Some(x), Some(constant)]).expect("it takes the inputs");
    graph.outputs.push(y);
    graph
}

#[track_caller]
fn refused(graph: Graph, shape: &[usize]) {
    let built = Session::builder().max_memory(1 << 20).build(graph);
    let x = Tensor::zeros(DType::F32, shape).expect("a small input");
    let error = built.and_then(|session| session.run([("x", x)])).expect_err("it takes too much");
    let text = error.to_string();
    assert!(text.contains("memory") || text.contains("allocated"), "{text}");
}

fn floats(shape: &[usize]) -> Fact {
    Fact::tensor(DType::F32, inferrum::Shape::from(shape))
}

#[test]
fn outputs_that_do_not_fit() {
    for huge in [1 << 20, 1 << 40, i64::MAX / 2] {
        // Lowered to a table of the output's rows and columns.
        for mode in ["constant", "edge", "wrap", "reflect"] {
            let attrs = [("mode", Attr::String(mode.into()))];
            refused(model("Pad", &attrs, floats(&[2, 3]), &[0, 0, 0, huge]), &[2, 3]);
        }
        refused(model("Expand", &[], floats(&[1, 3]), &[huge, 3]), &[1, 3]);
        refused(model("Tile", &[], floats(&[2, 3]), &[huge, 1]), &[2, 3]);
    }
}

#[test]
fn empty_outputs_with_absurd_extents() {
    let attrs = [("mode", Attr::String("constant".into()))];
    let session = Session::builder()
        .max_memory(1 << 20)
        .build(model("Pad", &attrs, floats(&[0, 3]), &[0, 0, 0, 1 << 60]))
        .expect("an empty tensor takes no memory");
    let outputs =
        session.run([("x", Tensor::zeros(DType::F32, [0, 3]).expect("empty"))]).expect("nothing to do");
    assert_eq!(outputs[0].shape().dims(), [0, 3 + (1 << 60)]);
}

/// Sums of operations and bytes stay in bounds too.
#[test]
fn declared_extents_beyond_any_memory() {
    for op_type in ["MatMul", "Add", "Max"] {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", floats(&[1 << 62]));
        let mut def = NodeDef::new(op_type, 18, BTreeMap::new());
        def.inputs = vec![true, true];
        let op = inferrum_ops::parse("", &mut def).expect("it exists").expect("it is well-formed");
        let y = graph.add_node("the_node", op, vec![Some(x), Some(x)]).expect("it takes the inputs");
        graph.outputs.push(y);
        // The product is a scalar; what is wanted here is that nothing panics.
        let session = Session::builder().max_memory(1 << 20).build(graph);
        assert!(session.is_err() || op_type == "MatMul");
    }
}

#[test]
fn work_without_bounds_is_not_done_at_load() {
    let mut graph = Graph::new("test");
    let attrs = [
        ("kernel_shape".to_owned(), Attr::Ints(vec![1 << 40, 1 << 20])),
        ("auto_pad".to_owned(), Attr::String("SAME_UPPER".into())),
    ];
    let mut def = NodeDef::new("AveragePool", 19, attrs.into());
    def.inputs = vec![true];
    let op = inferrum_ops::parse("", &mut def).expect("it exists").expect("it is well-formed");
    let x = graph.add_constant("x", Tensor::zeros(DType::F32, [1, 1, 3, 3]).expect("a small tensor"));
    let y = graph.add_node("the_node", op, vec![Some(x)]).expect("it takes the input");
    graph.outputs.push(y);
    Session::builder().build(graph).expect("the result has 9 elements");
}

#[test]
fn nothing_is_computed_of_absurdly_many_empty_rows() {
    let shape = [1 << 40, 1 << 20, 0];
    for (op_type, constant) in [("LogSoftmax", None), ("Exp", None), ("CumSum", Some(2i64))] {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", floats(&shape));
        let mut inputs = vec![Some(x)];
        inputs.extend(constant.map(|axis| Some(graph.add_constant("axis", Tensor::scalar(axis)))));
        let mut def = NodeDef::new(op_type, 18, BTreeMap::new());
        def.inputs = vec![true; inputs.len()];
        let op = inferrum_ops::parse("", &mut def).expect("it exists").expect("it is well-formed");
        let y = graph.add_node("the_node", op, inputs).expect("it takes the inputs");
        graph.outputs.push(y);
        let empty = || Tensor::zeros(DType::F32, shape).expect("empty");
        let interpreted = inferrum::graph::interpret(&graph, vec![empty().into()]).expect("nothing to do");
        assert_eq!(interpreted[0].as_tensor().expect("a tensor").shape().dims(), shape);
        let session = Session::builder().build(graph).expect("an empty tensor takes no memory");
        assert_eq!(session.run([("x", empty())]).expect("nothing to do")[0].shape().dims(), shape);
    }
}
