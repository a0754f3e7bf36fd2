//! `inferrum inspect` on models with open shapes and with bodies.

use serde_json::json;

use crate::command::{Folder, inferrum, json, succeed};
use crate::proto::{graph, graph_attribute, model, node, value, zeros};

/// A convolution over time with a window of `window` elements.
fn windowed(window: u64) -> Vec<u8> {
    model(&graph(
        &[node("Conv", &["x", "w"], &["y"], &[])],
        &[value("x", 1, &["batch", "1", "time"])],
        &[value("y", 1, &["batch", "1", "frames"])],
        &[zeros("w", &[1, 1, window])],
    ))
}

/// `If(c) { x + x } else { x }`, whose first branch holds a second `If` of the same kind.
fn branches() -> Vec<u8> {
    let body = |nodes: &[Vec<u8>], out: &str| graph(nodes, &[], &[value(out, 1, &["n", "3"])], &[]);
    let branch = |name: &str, body: &Vec<u8>| graph_attribute(name, body);
    let same = |out: &str| body(&[node("Identity", &["x"], &[out], &[])], out);
    let twice = body(&[node("Add", &["x", "x"], &["d"], &[])], "d");
    let inner = body(
        &[node("If", &["c"], &["t"], &[branch("then_branch", &twice), branch("else_branch", &same("s"))])],
        "t",
    );
    let attributes = [branch("then_branch", &inner), branch("else_branch", &same("e"))];
    model(&graph(
        &[node("If", &["c"], &["y"], &attributes)],
        &[value("c", 9, &[]), value("x", 1, &["n", "3"])],
        &[value("y", 1, &["n", "3"])],
        &[],
    ))
}

#[test]
fn open_extents_are_found_by_trying_and_said() {
    let folder = Folder::new();
    let path = folder.write("m.onnx", windowed(5));
    let told = succeed(&["inspect", &path]);
    assert!(told.contains("assumed x: float32[1x1x8], found by trying"), "{told}");
    let made_up = succeed(&["run", &path]);
    assert!(made_up.contains("float32[1x1x8] made up at random, seed 0, found by trying"), "{made_up}");
    let given = json(&["inspect", &path, "--shape", "1x1x20", "--json"]);
    assert_eq!(given["plans"][0]["assumed"], json!(["x: float32[1x1x20]"]));
}

#[test]
fn even_the_first_extent_is_found_where_1_does_not_do() {
    let folder = Folder::new();
    let over_the_first_axis = model(&graph(
        &[node("Transpose", &["x"], &["t"], &[]), node("Conv", &["t", "w"], &["y"], &[])],
        &[value("x", 1, &["time", "1", "1"])],
        &[value("y", 1, &["1", "1", "frames"])],
        &[zeros("w", &[1, 1, 5])],
    ));
    let path = folder.write("m.onnx", over_the_first_axis);
    let told = succeed(&["run", &path]);
    assert!(told.contains("float32[8x1x1] made up at random, seed 0, found by trying"), "{told}");
    let given = json(&["inspect", &path, "--batch", "6", "--json"]);
    assert_eq!(given["plans"][0]["assumed"], json!(["x: float32[6x1x1]"]));
}

#[test]
fn a_failure_on_made_up_inputs_says_that_they_are() {
    let folder = Folder::new();
    let path = folder.write("m.onnx", windowed(100_000));
    for command in ["run", "bench", "compare"] {
        let done = inferrum(&[command, &path]);
        assert_eq!(done.code, 1);
        assert!(done.err.contains("made up at random") && done.err.contains("--shape"), "{}", done.err);
    }
}

#[test]
fn sides_of_images_are_not_1() {
    let folder = Folder::new();
    let path = folder.write("m.onnx", crate::proto::identity(1, &["batch", "3", "height", "width"]));
    let told = json(&["inspect", &path, "--json"]);
    assert_eq!(told["plans"][0]["assumed"], json!(["x: float32[1x3x224x224]"]));
}

#[test]
fn what_cannot_be_planned_is_told_once() {
    let folder = Folder::new();
    let path = folder.write("m.onnx", windowed(100_000));
    let told = succeed(&["inspect", &path]);
    assert_eq!(told.matches("cannot be planned").count(), 1, "{told}");
    assert_eq!(told.matches("does not fit").count(), 1, "{told}");
    assert!(told.contains("--shape"), "{told}");
    let planned = json(&["inspect", &path, "--shape", "1x1x100000", "--json"]);
    assert!(planned["plans"][0]["error"].is_null(), "{planned}");
}

#[test]
fn bodies_are_planned_counted_and_drawn() {
    let folder = Folder::new();
    let path = folder.write("m.onnx", branches());
    let told = json(&["inspect", &path, "--shape", "x=7x3", "--json"]);
    let plan = &told["plans"][0];
    assert_eq!(plan["complete"], true, "{plan}");
    let bodies = plan["bodies"].as_array().unwrap();
    assert_eq!(bodies.len(), 2);
    assert_eq!((&bodies[0]["operator"], &bodies[0]["index"]), (&json!("If"), &json!(0)));
    assert_eq!(bodies[0]["bodies"][0]["flops_per_call"], 21, "{plan}");
    assert_eq!(bodies[0]["bodies"][0]["nodes"][0]["operator"], "Add");
    assert_eq!(bodies[1]["flops_per_call"], 0);
    let file = folder.text("g.svg");
    let words = succeed(&["inspect", &path, "--shape", "x=7x3", "--graph", &file]);
    assert!(words.contains("If then") && words.contains("If else") && words.contains("21 FLOP"), "{words}");
    let picture = std::fs::read_to_string(&file).unwrap();
    assert!(picture.contains("then of If (If)") && picture.contains("7x3"), "{picture}");
}
