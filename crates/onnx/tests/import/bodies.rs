//! Bodies of `If`, `Loop` and `Scan`, and what they take from the graphs around them.

use inferrum_tensor::{Tensor, Value};

use crate::model::{accepted, body, float_data, floats, graph, int, int_data, model, node, refused, tensor_type, value};
use crate::proto::{GraphProto, ValueInfoProto};

const BOOL: i32 = crate::model::BOOL;

fn flag(name: &str) -> ValueInfoProto {
    value(name, tensor_type(BOOL, &[]))
}

fn number(name: &str) -> ValueInfoProto {
    value(name, tensor_type(crate::model::I64, &[]))
}

fn run(loaded: &inferrum_onnx::Model, inputs: Vec<Value>) -> Vec<f64> {
    let outputs = inferrum_graph::interpret(&loaded.graph, inputs).unwrap_or_else(|error| panic!("{error}"));
    outputs[0].as_tensor().expect("a tensor").to_f64().expect("numbers")
}

#[test]
fn if_takes_inputs_initializers_and_results_of_nodes() {
    let nodes = vec![
        node("Neg", &["x"], &["n"]),
        node("If", &["flag"], &["y"])
            .with(body("then_branch", graph(vec![], vec![node("Add", &["n", "w"], &["r"])], &["r"])))
            .with(body("else_branch", graph(vec![], vec![node("Mul", &["x", "w"], &["r"])], &["r"]))),
    ];
    let graph = graph(vec![floats("x", &[2]), flag("flag")], nodes, &["y"]).storing(float_data("w", &[], &[10.]));
    let loaded = accepted(&model(graph));
    let inputs = |flag: bool| vec![Tensor::vector(vec![1f32, 2.]).into(), Tensor::scalar(flag).into()];
    assert_eq!((run(&loaded, inputs(true)), run(&loaded, inputs(false))), (vec![9., 8.], vec![10., 20.]));
}

/// A loop that adds `step`, taken from around it, to its state.
fn looping(body_nodes: Vec<crate::proto::NodeProto>, outputs: &[&str]) -> GraphProto {
    let inner = graph(vec![number("i"), flag("go"), floats("s", &[2])], body_nodes, outputs);
    let node = node("Loop", &["m", "", "x"], &["y"]).with(body("body", inner));
    graph(vec![floats("x", &[2]), floats("step", &[2])], vec![node], &["y"]).storing(int_data("m", &[], &[3]))
}

#[test]
fn loop_takes_a_value_from_around_it() {
    let nodes = vec![node("Add", &["s", "step"], &["t"]), node("Identity", &["go"], &["on"])];
    let loaded = accepted(&model(looping(nodes, &["on", "t"])));
    let inputs = vec![Tensor::vector(vec![0f32, 1.]).into(), Tensor::vector(vec![1f32, 2.]).into()];
    assert_eq!(run(&loaded, inputs), [3., 7.]);
}

#[test]
fn scan_takes_a_value_from_around_it() {
    let inner = graph(vec![floats("s", &[]), floats("e", &[])], vec![
        node("Mul", &["e", "factor"], &["p"]),
        node("Add", &["s", "p"], &["t"]),
        node("Identity", &["t"], &["each"]),
    ], &["t", "each"]);
    let scan = node("Scan", &["x0", "xs"], &["last", "y"]).with(int("num_scan_inputs", 1)).with(body("body", inner));
    let inputs = vec![floats("x0", &[]), floats("xs", &[3]), floats("factor", &[])];
    let loaded = accepted(&model(graph(inputs, vec![scan], &["y"])));
    let inputs = vec![
        Tensor::scalar(0f32).into(),
        Tensor::vector(vec![1f32, 2., 3.]).into(),
        Tensor::scalar(10f32).into(),
    ];
    assert_eq!(run(&loaded, inputs), [10., 30., 60.]);
}

#[test]
fn a_body_within_a_body_takes_from_the_outermost() {
    let innermost = |op: &str| graph(vec![], vec![node(op, &["s", "step"], &["t0"])], &["t0"]);
    let nodes = vec![
        node("If", &["go"], &["t"]).with(body("then_branch", innermost("Add"))).with(body("else_branch", innermost("Sub"))),
        node("Identity", &["go"], &["on"]),
    ];
    let loaded = accepted(&model(looping(nodes, &["on", "t"])));
    let inputs = vec![Tensor::vector(vec![0f32, 1.]).into(), Tensor::vector(vec![1f32, 2.]).into()];
    assert_eq!(run(&loaded, inputs), [3., 7.]);
}

#[test]
fn a_body_may_use_a_name_of_the_graph_around_it_for_its_own() {
    // `step` is the body's own constant here, and `x` its own value.
    let nodes = vec![
        node("Constant", &[], &["step"]).with(crate::model::tensor_attribute("value", float_data("", &[2], &[100., 0.]))),
        node("Add", &["s", "step"], &["x"]),
        node("Identity", &["go"], &["on"]),
    ];
    let loaded = accepted(&model(looping(nodes, &["on", "x"])));
    let inputs = vec![Tensor::vector(vec![0f32, 1.]).into(), Tensor::vector(vec![1f32, 2.]).into()];
    assert_eq!(run(&loaded, inputs), [300., 1.]);
}

#[test]
fn names_that_no_graph_around_defines() {
    let nodes = vec![node("Add", &["s", "ghost"], &["t"]), node("Identity", &["go"], &["on"])];
    refused(&model(looping(nodes, &["on", "t"])), &["a body of node `the_Loop` (Loop)", "uses `ghost`"]);
    let nodes = vec![node("Identity", &["go"], &["on"])];
    refused(&model(looping(nodes, &["on", "ghost"])), &["a body of node `the_Loop` (Loop)", "uses `ghost`"]);
}

#[test]
fn bodies_that_do_not_fit_their_operator() {
    let missing = graph(vec![flag("flag"), floats("x", &[2])], vec![
        node("If", &["flag"], &["y"]).with(body("then_branch", graph(vec![], vec![node("Neg", &["x"], &["r"])], &["r"]))),
    ], &["y"]);
    refused(&model(missing), &["the_If", "If", "`else_branch`", "nothing"]);
    let counts = graph(vec![flag("flag"), floats("x", &[2])], vec![
        node("If", &["flag"], &["y"])
            .with(body("then_branch", graph(vec![], vec![node("Neg", &["x"], &["r"])], &["r"])))
            .with(body("else_branch", graph(vec![], vec![node("Neg", &["x"], &["r"])], &["r", "r"]))),
    ], &["y"]);
    refused(&model(counts), &["the_If", "If"]);
    let few = graph(vec![number("i")], vec![node("Identity", &["i"], &["on"])], &["on"]);
    let short = node("Loop", &["m", "", "x"], &["y"]).with(body("body", few));
    let short = graph(vec![floats("x", &[2])], vec![short], &["y"]).storing(int_data("m", &[], &[3]));
    refused(&model(short), &["the_Loop", "Loop"]);
    let scan = node("Scan", &["x"], &["y"])
        .with(int("num_scan_inputs", i64::MAX))
        .with(body("body", graph(vec![floats("e", &[])], vec![node("Neg", &["e"], &["r"])], &["r"])));
    refused(&model(graph(vec![floats("x", &[2])], vec![scan], &["y"])), &["the_Scan", "Scan", "num_scan_inputs"]);
}

#[test]
fn a_body_where_the_operator_takes_none() {
    let inner = graph(vec![], vec![node("Neg", &["x"], &["r"])], &["r"]);
    let relu = node("Relu", &["x"], &["y"]).with(body("body", inner));
    refused(&model(graph(vec![floats("x", &[2])], vec![relu], &["y"])), &["the_Relu", "Relu"]);
}
