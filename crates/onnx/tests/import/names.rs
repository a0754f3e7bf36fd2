//! Names of values: defined twice, nowhere, or by each other.

use crate::model::{accepted, computed, float_data, floats, graph, model, node, refused, untyped, value, tensor_type};

fn x() -> Vec<crate::proto::ValueInfoProto> {
    vec![floats("x", &[2])]
}

#[test]
fn nodes_in_any_order() {
    let nodes = vec![node("Neg", &["a"], &["y"]), node("Relu", &["x"], &["a"])];
    assert_eq!(computed(&accepted(&model(graph(x(), nodes, &["y"]))), &[&[-1., 2.]]), [-0., -2.]);
}

#[test]
fn cycles() {
    let itself = vec![node("Add", &["x", "y"], &["y"])];
    refused(&model(graph(x(), itself, &["y"])), &["cycle", "`the_Add` (Add)"]);
    let two = vec![node("Add", &["x", "b"], &["a"]), node("Mul", &["a", "a"], &["b"]), node("Relu", &["b"], &["y"])];
    refused(&model(graph(x(), two, &["y"])), &["cycle", "`the_Add` (Add)", "`the_Mul` (Mul)"]);
    // Through a body that uses what the node itself gives.
    let branch = || graph(vec![], vec![node("Relu", &["y"], &["b"])], &["b"]);
    let through = node("If", &["flag"], &["y"])
        .with(crate::model::body("then_branch", branch()))
        .with(crate::model::body("else_branch", branch()));
    let inputs = vec![value("flag", tensor_type(9, &[]))];
    refused(&model(graph(inputs, vec![through], &["y"])), &["cycle", "`the_If` (If)"]);
}

#[test]
fn a_cycle_of_many_nodes_names_some() {
    let name = |i: usize| format!("v{i}");
    let nodes = (0..5000).map(|i| node("Relu", &[&name(i)], &[&name((i + 1) % 5000)]).named(&format!("n{i}")));
    let error = refused(&model(graph(x(), nodes.collect(), &["v0"])), &["cycle", "`n0` (Relu)"]);
    assert!(error.len() < 1000, "{error}");
}

#[test]
fn outputs_defined_twice() {
    let nodes = || vec![node("Relu", &["x"], &["y"]), node("Neg", &["x"], &["y"])];
    refused(&model(graph(x(), nodes(), &["y"])), &["`y` is defined twice", "graph `g`", "node `the_Neg` (Neg)"]);
    let split = vec![node("Split", &["x"], &["y", "y"])];
    refused(&model(graph(x(), split, &["y"])), &["`y` is defined twice", "node `the_Split` (Split)"]);
    let over_input = vec![node("Relu", &["x"], &["x"])];
    refused(&model(graph(x(), over_input, &["x"])), &["`x` is defined twice", "node `the_Relu` (Relu)"]);
    let over_initializer = graph(x(), vec![node("Relu", &["x"], &["w"])], &["w"]);
    let stored = over_initializer.storing(float_data("w", &[1], &[1.]));
    refused(&model(stored), &["`w` is defined twice", "node `the_Relu` (Relu)"]);
}

#[test]
fn initializers_and_inputs_defined_twice() {
    let twice = graph(vec![], vec![], &["w"])
        .storing(float_data("w", &[1], &[1.]))
        .storing(float_data("w", &[1], &[2.]));
    refused(&model(twice), &["`w` is defined twice", "graph `g`", "initializer"]);
    let twice = graph([x(), x()].concat(), vec![node("Relu", &["x"], &["y"])], &["y"]);
    refused(&model(twice), &["`x` is defined twice", "graph `g`", "input"]);
    // An input beside an initializer of its name has a default.
    let default = graph(x(), vec![node("Relu", &["x"], &["y"])], &["y"]).storing(float_data("x", &[2], &[1., -1.]));
    let loaded = accepted(&model(default));
    assert_eq!((loaded.graph.inputs.len(), loaded.overridable.len()), (0, 1));
    let misfit = graph(x(), vec![node("Relu", &["x"], &["y"])], &["y"]).storing(float_data("x", &[3], &[0.; 3]));
    refused(&model(misfit), &["input `x`", "float32[2]", "initializer is"]);
}

#[test]
fn names_that_nothing_defines() {
    let user = graph(x(), vec![node("Add", &["x", "ghost"], &["y"])], &["y"]);
    refused(&model(user), &["node `the_Add` (Add)", "uses `ghost`", "no input, initializer or node defines"]);
    let output = graph(x(), vec![node("Relu", &["x"], &["y"])], &["ghost"]);
    refused(&model(output), &["output of graph `g`", "`ghost`"]);
    let empty = graph(x(), vec![node("Relu", &["x"], &["y"])], &[""]);
    refused(&model(empty), &["output of graph `g`"]);
}

#[test]
fn empty_names() {
    refused(&model(graph(vec![floats("", &[2])], vec![], &[])), &["input", "no name"]);
    refused(&model(graph(vec![], vec![], &[]).storing(float_data("", &[1], &[1.]))), &["initializer", "no name"]);
}

#[test]
fn missing_inputs_and_outputs_of_nodes() {
    refused(&model(graph(x(), vec![node("Add", &["x"], &["y"])], &["y"])), &["the_Add", "(Add", "input 1 is required"]);
    refused(&model(graph(x(), vec![node("Add", &["", "x"], &["y"])], &["y"])), &["the_Add", "input 0 is required"]);
    refused(&model(graph(x(), vec![node("Relu", &[], &["y"])], &["y"])), &["the_Relu", "input 0 is required"]);
    let three = graph(x(), vec![node("Relu", &["x", "x", "x"], &["y"])], &["y"]);
    refused(&model(three), &["the_Relu", "Relu", "takes 1 input", "got 3"]);
    refused(&model(graph(x(), vec![node("Relu", &["x"], &[])], &["x"])), &["the_Relu", "must have an output"]);
    refused(&model(graph(x(), vec![node("Relu", &["x"], &[""])], &["x"])), &["the_Relu", "must have an output"]);
    let two = graph(x(), vec![node("Relu", &["x"], &["y", "z"])], &["z"]);
    refused(&model(two), &["the_Relu", "(Relu)", "gives 1 output", "asks for 2"]);
}

#[test]
fn an_input_without_a_type() {
    refused(&model(graph(vec![untyped("x")], vec![node("Relu", &["x"], &["y"])], &["y"])), &["input `x`", "not declared"]);
}
