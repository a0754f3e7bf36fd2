//! `inferrum test`.

use inferrum::{DType, Tensor};
use serde_json::Value as Json;

use crate::command::{Folder, asset, inferrum, pb, seven};

/// A folder with the project's model, the digit, and its probabilities plus `error`.
fn case(folder: &Folder, name: &str, error: f64) {
    let session = inferrum::Session::load(asset("digits.onnx")).unwrap();
    let outputs = session.run(seven()).unwrap();
    let values: Vec<f64> = outputs[0].to_f64().unwrap().iter().map(|x| x + error).collect();
    let expected = Tensor::from_f64(DType::F32, [1, 10], &values).unwrap();
    folder.write(&format!("{name}/model.onnx"), std::fs::read(asset("digits.onnx")).unwrap());
    folder.write(&format!("{name}/test_data_set_0/input_0.pb"), pb(&seven(), "image"));
    folder.write(&format!("{name}/test_data_set_0/output_0.pb"), pb(&expected, "probabilities"));
}

#[test]
fn folders_pass_fail_and_are_skipped() {
    let folder = Folder::new();
    case(&folder, "suite/good", 0.0);
    case(&folder, "suite/deeper/wrong", 0.01);
    folder.write("suite/bare/model.onnx", std::fs::read(asset("digits.onnx")).unwrap());
    folder.write("suite/broken/model.onnx", "no model");
    folder.write("suite/README.md", "not a case");
    let file = folder.text("out.json");
    let done = inferrum(&["test", &folder.text("suite"), "--device", "cpu", "--json", &file]);
    assert_eq!(done.code, 1);
    assert_eq!(done.out.lines().last(), Some("1 passed, 2 failed, 1 skipped"), "{}", done.out);
    let line = |name: &str| done.out.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(line("wrong").starts_with("FAILED") && line("wrong").contains("10 of 10 elements differ"));
    assert!(line("bare").starts_with("skipped") && line("broken").starts_with("FAILED"));
    assert!(!done.out.contains("good"), "{}", done.out);
    let json: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!((&json["passed"], &json["failed"], &json["skipped"]), (&1.into(), &2.into(), &1.into()));
    assert_eq!(json["cases"].as_array().unwrap().len(), 4);
}

#[test]
fn tolerances_are_those_of_the_command_line_then_the_folder() {
    let folder = Folder::new();
    case(&folder, "near", 0.001);
    let near = folder.text("near");
    let code = |flags: &[&str]| inferrum(&[&["test", &near], flags].concat()).code;
    assert_eq!(code(&[]), 1);
    assert_eq!(code(&["--tolerance", "0.01"]), 0);
    assert_eq!(code(&["--tolerance", "0.0001"]), 1);
    assert_eq!(code(&["--atol", "0.01"]), 0);
    assert_eq!(code(&["--rtol", "1e-9", "--atol", "1e-9"]), 1);
    folder.write("near/META.json", r#"{"tolerance": {"metric": "of the greatest", "value": 0.01}}"#);
    assert_eq!(code(&[]), 0);
    assert_eq!(code(&["--tolerance", "0.0001"]), 1);
}

#[test]
fn the_reference_passes_too() {
    let folder = Folder::new();
    case(&folder, "good", 0.0);
    let done = inferrum(&["test", &folder.text("good"), "--device", "reference", "--tolerance", "1e-4"]);
    assert_eq!((done.code, done.out.trim()), (0, "1 passed, 0 failed, 0 skipped"), "{}", done.err);
    let filtered = inferrum(&["test", &folder.text("good"), "--filter", "nothing"]);
    assert!(filtered.code == 1 && filtered.err.contains("filter"), "{}", filtered.err);
}
