//! `inferrum compare`.

use crate::command::{asset, json, succeed};

#[test]
fn outputs_are_near_the_reference() {
    let told = json(&[
        "compare",
        &asset("digits.onnx"),
        "--input",
        &asset("seven.png"),
        "--device",
        "cpu",
        "--json",
    ]);
    assert_eq!(told["against"], "reference (f64)");
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    let number = |field: &str| rows[0][field].as_f64().unwrap();
    assert!(number("of_greatest") < 1e-5 && number("cosine") > 0.99999, "{told}");
    // In f32 something is lost, or the reference is not in f64.
    assert!(number("max_absolute") > 0.0, "{told}");
}

#[test]
fn every_node_is_compared() {
    let told = json(&["compare", &asset("digits.onnx"), "--per-node", "--json"]);
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["operator"] == "Conv").count(), 5);
    assert_eq!(rows.len(), 21);
    assert!(rows.iter().all(|row| row["of_greatest"].as_f64().unwrap() < 1e-4), "{told}");
}

#[test]
fn a_device_equals_itself() {
    let told = json(&["compare", &asset("digits.onnx"), "--device", "cpu", "--against", "cpu", "--json"]);
    assert_eq!(told["rows"][0]["max_absolute"], 0.0);
    let table = succeed(&["compare", &asset("digits.onnx"), "--per-node"]);
    assert!(table.contains("MaxPool") && table.contains("greatest: node"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}
