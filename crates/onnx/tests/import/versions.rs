//! Versions of the file format and of operator sets.

use inferrum_onnx::load;
use prost::Message;

use crate::model::{accepted, floats, graph, model, node, opset, refused};
use crate::proto::ModelProto;

fn relu() -> ModelProto {
    model(graph(vec![floats("x", &[2])], vec![node("Relu", &["x"], &["y"])], &["y"]))
}

fn with_opsets(opsets: &[(&str, i64)]) -> ModelProto {
    ModelProto {
        opset_import: opsets.iter().map(|&(domain, version)| opset(domain, version)).collect(),
        ..relu()
    }
}

#[test]
fn of_the_file_format() {
    for version in [15, 1000, i64::MAX] {
        let newer = ModelProto { ir_version: Some(version), ..relu() };
        refused(&newer, &[&format!("IR version {version}"), "14 is the newest known"]);
    }
    for version in [None, Some(0), Some(-1), Some(i64::MIN)] {
        refused(&ModelProto { ir_version: version, ..relu() }, &["IR version", "from 1 to 14"]);
    }
    for version in 1..=14 {
        accepted(&ModelProto { ir_version: Some(version), ..relu() });
    }
}

#[test]
fn of_operator_sets() {
    for (domain, shown, version) in
        [("", "ai.onnx", 29), ("ai.onnx", "ai.onnx", i64::MAX), ("ai.onnx.ml", "ai.onnx.ml", 6)]
    {
        let newer = with_opsets(&[("", 17), (domain, version)]);
        refused(&newer, &[&format!("version {version} of operator set `{shown}`"), "is the newest known"]);
    }
    for version in [0, -1, i64::MIN] {
        refused(
            &with_opsets(&[("", version)]),
            &[&format!("version {version} of operator set `ai.onnx`"), "from 1 to"],
        );
    }
    // Both names of ONNX's own domain are one domain.
    accepted(&with_opsets(&[("ai.onnx", 13)]));
    accepted(&with_opsets(&[("", 13), ("ai.onnx", 13)]));
    refused(&with_opsets(&[("", 13), ("ai.onnx", 14)]), &["`ai.onnx`", "13", "14", "twice"]);
}

#[test]
fn no_import() {
    refused(&with_opsets(&[]), &["node `the_Relu` (Relu)", "`ai.onnx`", "does not import"]);
    refused(&with_opsets(&[("ai.onnx.ml", 3)]), &["node `the_Relu` (Relu)", "`ai.onnx`", "does not import"]);
    // Files of the first IR versions have no imports.
    accepted(&ModelProto { ir_version: Some(2), ..with_opsets(&[]) });
}

#[test]
fn the_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("newer.onnx");
    let newer = ModelProto { ir_version: Some(99), ..relu() };
    std::fs::write(&path, newer.encode_to_vec()).expect("it can be written");
    let error = load(&path).expect_err("it is refused").to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
}
