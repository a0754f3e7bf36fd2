//! Functions that a model defines.

use crate::model::{
    accepted, body, computed, float, float_data, floats, function, graph, int, model, node, opset, reference, refused,
    tensor_type, value,
};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{FunctionProto, ModelProto, NodeProto};

fn calling(call: NodeProto, functions: Vec<FunctionProto>) -> ModelProto {
    model(graph(vec![floats("x", &[2])], vec![call], &["y"])).defining(functions)
}

fn leaky() -> FunctionProto {
    let leaky = node("LeakyRelu", &["a"], &["b"]).with(reference("alpha", "slope", AttributeType::Float));
    let mut function = function("Leaky", &["a"], vec![leaky], &["b"]);
    function.attribute.push("slope".into());
    function
}

fn leaks(call: NodeProto) -> NodeProto {
    call.of("local")
}

#[test]
fn attributes_are_forwarded() {
    let call = leaks(node("Leaky", &["x"], &["y"])).with(float("slope", 0.5));
    assert_eq!(computed(&accepted(&calling(call, vec![leaky()])), &[&[-2., 2.]]), [-1., 2.]);
    // One that the call leaves out is left out: LeakyRelu's own default is 0.01.
    let call = leaks(node("Leaky", &["x"], &["y"]));
    assert_eq!(computed(&accepted(&calling(call.clone(), vec![leaky()])), &[&[-2., 2.]]), [-0.02, 2.]);
    // A function's own default.
    let mut with_default = leaky();
    with_default.attribute.clear();
    with_default.attribute_proto.push(float("slope", 0.25));
    assert_eq!(computed(&accepted(&calling(call, vec![with_default.clone()])), &[&[-2., 2.]]), [-0.5, 2.]);
    let call = leaks(node("Leaky", &["x"], &["y"])).with(float("slope", 1.0));
    assert_eq!(computed(&accepted(&calling(call, vec![with_default])), &[&[-2., 2.]]), [-2., 2.]);
}

#[test]
fn attributes_are_forwarded_through_calls_and_bodies() {
    let inner = leaks(node("Leaky", &["a"], &["b"])).with(reference("slope", "outer", AttributeType::Float));
    let branch = || graph(vec![], vec![inner.clone()], &["b"]);
    let greater = vec![
        node("ReduceSum", &["a"], &["s"]).with(int("keepdims", 0)),
        node("Cast", &["s"], &["flag"]).with(int("to", 9)),
        node("If", &["flag"], &["r"]).with(body("then_branch", branch())).with(body("else_branch", branch())),
    ];
    let mut outer = function("Outer", &["a"], greater, &["r"]);
    outer.attribute.push("outer".into());
    let call = leaks(node("Outer", &["x"], &["y"])).with(float("outer", 3.0));
    assert_eq!(computed(&accepted(&calling(call, vec![outer, leaky()])), &[&[-2., 1.]]), [-6., 1.]);
}

#[test]
fn attributes_that_the_function_does_not_have() {
    let call = leaks(node("Leaky", &["x"], &["y"])).with(float("slop", 0.5));
    refused(&calling(call, vec![leaky()]), &["node `the_Leaky` (local.Leaky)", "no attribute `slop`"]);
    let call = leaks(node("Leaky", &["x"], &["y"])).with(float("slope", 0.5)).with(float("slope", 0.5));
    refused(&calling(call, vec![leaky()]), &["the_Leaky", "attribute `slope` is given twice"]);
    let call = leaks(node("Leaky", &["x"], &["y"])).with(int("slope", 2));
    refused(&calling(call, vec![leaky()]), &["the_LeakyRelu", "LeakyRelu", "`alpha`", "a float", "an integer"]);
}

#[test]
fn inner_names_collide_with_nothing() {
    // `x`, `y` and `t` mean other values within the function, and each call has its own.
    let nodes = vec![node("Neg", &["y"], &["t"]), node("Add", &["t", "y"], &["x"]), node("Sub", &["x", "t"], &["z"])];
    let same = function("Same", &["y"], nodes, &["z"]);
    let calls = vec![
        leaks(node("Same", &["x"], &["t"])).named("one"),
        leaks(node("Same", &["t"], &["y"])).named("two"),
    ];
    let model = model(graph(vec![floats("x", &[2])], calls, &["y"])).defining(vec![same]);
    assert_eq!(computed(&accepted(&model), &[&[3., -1.]]), [3., -1.]);
}

#[test]
fn inputs_and_outputs_left_out() {
    let clip = function("MyClip", &["a", "low", "high"], vec![node("Clip", &["a", "low", "high"], &["b"])], &["b"]);
    let call = leaks(node("MyClip", &["x", "", "h"], &["y"]));
    let graph = graph(vec![floats("x", &[2])], vec![call], &["y"]).storing(float_data("h", &[], &[1.]));
    assert_eq!(computed(&accepted(&model(graph).defining(vec![clip])), &[&[-5., 5.]]), [-5., 1.]);
    let both = || function("Both", &["a"], vec![node("Neg", &["a"], &["n"])], &["n", "a"]);
    let second = leaks(node("Both", &["x"], &["", "y"]));
    assert_eq!(computed(&accepted(&calling(second, vec![both()])), &[&[-5., 5.]]), [-5., 5.]);
    let third = leaks(node("Both", &["x"], &["y", "z", "w"]));
    refused(&calling(third, vec![both()]), &["node `the_Both` (local.Both)", "gives 2 outputs, got 1 and 3"]);
    let two = leaks(node("Both", &["x", "x"], &["y"]));
    refused(&calling(two, vec![both()]), &["node `the_Both` (local.Both)", "takes 1 inputs", "got 2 and 1"]);
    let absent = function("Absent", &["a", "b"], vec![node("Neg", &["a"], &["n"])], &["b"]);
    let call = leaks(node("Absent", &["x"], &["y"]));
    refused(&calling(call, vec![absent]), &["node `the_Absent` (local.Absent)", "input `b`, which the call leaves out"]);
}

#[test]
fn bodies_of_functions_see_their_values() {
    let branch = |op: &str| graph(vec![], vec![node(op, &["a", "k"], &["r"])], &["r"]);
    let nodes = vec![
        node("Constant", &[], &["k"]).with(float("value_float", 10.)),
        node("If", &["flag"], &["b"]).with(body("then_branch", branch("Add"))).with(body("else_branch", branch("Mul"))),
    ];
    let choose = function("Choose", &["a", "flag"], nodes, &["b"]);
    let inputs = vec![floats("x", &[2]), value("f", tensor_type(9, &[]))];
    let call = leaks(node("Choose", &["x", "f"], &["y"]));
    let loaded = accepted(&model(graph(inputs, vec![call], &["y"])).defining(vec![choose]));
    let values = |flag: bool| {
        vec![
            inferrum_tensor::Tensor::vector(vec![1f32, 2.]).into(),
            inferrum_tensor::Tensor::scalar(flag).into(),
        ]
    };
    let run = |flag: bool| {
        let outputs = inferrum_graph::interpret(&loaded.graph, values(flag)).unwrap_or_else(|e| panic!("{e}"));
        outputs[0].as_tensor().expect("a tensor").to_f64().unwrap()
    };
    assert_eq!((run(true), run(false)), (vec![11., 12.], vec![10., 20.]));
}

#[test]
fn overloads_and_names_that_hide_operators() {
    // A function of ONNX's own domain takes the operator's place, as the specification says.
    let mut relu = function("Relu", &["a"], vec![node("Neg", &["a"], &["b"])], &["b"]);
    relu.domain = Some(String::new());
    let call = node("Relu", &["x"], &["y"]);
    assert_eq!(computed(&accepted(&calling(call, vec![relu])), &[&[-5., 5.]]), [5., -5.]);
    let mut overloaded = leaky();
    overloaded.overload = Some("second".into());
    overloaded.node[0] = node("Neg", &["a"], &["b"]);
    let mut call = leaks(node("Leaky", &["x"], &["y"]));
    call.overload = Some("second".into());
    assert_eq!(computed(&accepted(&calling(call, vec![leaky(), overloaded])), &[&[-5., 5.]]), [5., -5.]);
    let twice = vec![leaky(), leaky()];
    refused(&calling(leaks(node("Leaky", &["x"], &["y"])), twice), &["function `local.Leaky`", "defined twice"]);
}

#[test]
fn functions_that_are_malformed() {
    let call = || leaks(node("F", &["x"], &["y"]));
    let undefined = function("F", &["a"], vec![node("Add", &["a", "ghost"], &["b"])], &["b"]);
    refused(&calling(call(), vec![undefined]), &["the_F/the_Add", "uses `ghost`"]);
    let output = function("F", &["a"], vec![node("Neg", &["a"], &["b"])], &["ghost"]);
    refused(&calling(call(), vec![output]), &["`ghost`", "output of function `F`"]);
    let twice = function("F", &["a", "a"], vec![node("Neg", &["a"], &["b"])], &["b"]);
    refused(&calling(call(), vec![twice]), &["`a` is defined twice", "F"]);
    let outer = function("F", &["a"], vec![node("Add", &["a", "x"], &["b"])], &["b"]);
    refused(&calling(call(), vec![outer]), &["uses `x`"]);
    let mut newer = function("F", &["a"], vec![node("Neg", &["a"], &["b"])], &["b"]);
    newer.opset_import = vec![opset("", 99)];
    refused(&calling(call(), vec![newer]), &["function `local.F`", "version 99", "`ai.onnx`"]);
}

#[test]
fn a_function_that_nothing_calls_may_use_unknown_operators() {
    let unused = function("F", &["a"], vec![node("Ghost", &["a"], &["b"])], &["b"]);
    accepted(&calling(node("Relu", &["x"], &["y"]), vec![unused]));
}
