//! Files that are cut off, changed bit by bit, or something else altogether.

use std::panic::{AssertUnwindSafe, catch_unwind};

use inferrum_onnx::{load, load_bytes, summary, summary_bytes};
use prost::Message;

use crate::model::{body, float_data, floats, function, graph, int, model, node, opset, tensor_type, value};
use crate::proto::ModelProto;

/// A model with a bit of everything: initializers, attributes, a body, a function, metadata.
fn sample() -> ModelProto {
    let branch = |op: &str| graph(vec![], vec![node(op, &["h"], &["b"])], &["b"]);
    let nodes = vec![
        node("Gemm", &["x", "w", "c"], &["h"]).with(int("transB", 1)),
        node("If", &["flag"], &["i"])
            .with(body("then_branch", branch("Relu")))
            .with(body("else_branch", branch("Neg"))),
        node("Twice", &["i"], &["y"]).of("local"),
    ];
    let inputs = vec![floats("x", &[2, 3]), value("flag", tensor_type(9, &[]))];
    let graph = graph(inputs, nodes, &["y"])
        .storing(float_data("w", &[4, 3], &[0.5; 12]))
        .storing(float_data("c", &[4], &[1.; 4]));
    let mut model = model(graph).defining(vec![function(
        "Twice",
        &["a"],
        vec![node("Add", &["a", "a"], &["b"])],
        &["b"],
    )]);
    model.graph.as_mut().expect("a graph").value_info.push(floats("h", &[2, 4]));
    model.opset_import.push(opset("com.microsoft", 1));
    model.producer_name = Some("a test".into());
    model
}

#[test]
fn the_sample_is_a_model() {
    let model = load_bytes(sample().encode_to_vec().into(), None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.graph.nodes().len(), 3);
    assert_eq!(model.info.producer, "a test");
}

/// Every message that loads also has a summary, and nothing panics.
fn try_to_load(bytes: Vec<u8>) -> bool {
    let whole = summary_bytes(bytes.clone().into());
    let loaded = load_bytes(bytes.into(), None);
    assert!(loaded.is_err() || whole.is_ok());
    loaded.is_ok()
}

#[test]
fn cut_off_at_every_length() {
    let bytes = sample().encode_to_vec();
    let digits =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx")).expect("an asset");
    assert!(try_to_load(bytes.clone()) && try_to_load(digits.clone()));
    for len in 0..bytes.len() {
        try_to_load(bytes[..len].to_vec());
    }
    // Its weights make it long; the structure is at the ends.
    let step = (digits.len() / 2000).max(1);
    for len in (0..digits.len()).filter(|len| len % step == 0 || digits.len() - len < 1000) {
        assert!(!try_to_load(digits[..len].to_vec()), "{len} of {} bytes", digits.len());
    }
}

#[test]
fn with_every_bit_flipped() {
    let bytes = sample().encode_to_vec();
    let mut loaded = 0;
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << bit;
            let result = catch_unwind(AssertUnwindSafe(|| try_to_load(flipped)));
            loaded +=
                usize::from(result.unwrap_or_else(|_| panic!("it panicked with bit {bit} of byte {index}")));
        }
    }
    // Most flips are of names and weights, which may be anything.
    assert!(loaded > 0);
}

#[test]
fn bytes_that_are_something_else() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("m.onnx");
    let cases: &[(&[u8], &str)] = &[
        (b"", "holds no graph"),
        (b"\0", "is no ONNX model"),
        (b"PK\x03\x04 a zip file", "is no ONNX model"),
        (b"<html>not found</html>", "is no ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (&[0xFF; 100], "is no ONNX model"),
        // A field that claims to be 2^62 bytes long.
        (b"\x3A\x80\x80\x80\x80\x80\x80\x80\x80\x40", "is no ONNX model"),
    ];
    for (bytes, message) in cases {
        std::fs::write(&path, bytes).expect("it can be written");
        for error in [load(&path).err(), summary(&path).err()] {
            let error = error.expect("it is refused").to_string();
            assert!(error.contains("m.onnx") && error.contains(message), "{error}");
        }
    }
    let missing = folder.path().join("nowhere.onnx");
    let error = load(&missing).expect_err("there is no file").to_string();
    assert!(error.contains("nowhere.onnx") && error.contains("cannot be read"), "{error}");
    let error = load(folder.path()).expect_err("it is a folder").to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn a_message_of_unknown_fields_is_no_model() {
    // Field 1000, a varint: any protobuf reader skips it.
    let error = load_bytes(vec![0xC0, 0x3E, 0x01].into(), None).expect_err("it is refused").to_string();
    assert!(error.contains("holds no graph"), "{error}");
}
