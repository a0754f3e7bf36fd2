//! Declared types.

use crate::model::{STRING, accepted, floats, graph, model, node, refused, tensor_type, untyped, value};
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::type_proto::{self, Value as Kind};
use crate::proto::{TensorShapeProto, TypeProto};

fn of(kind: Kind) -> TypeProto {
    TypeProto { value: Some(kind), ..TypeProto::default() }
}

fn sequence(inner: TypeProto) -> TypeProto {
    of(Kind::SequenceType(Box::new(type_proto::Sequence { elem_type: Some(Box::new(inner)) })))
}

fn optional(inner: TypeProto) -> TypeProto {
    of(Kind::OptionalType(Box::new(type_proto::Optional { elem_type: Some(Box::new(inner)) })))
}

fn map(key: i32, inner: TypeProto) -> TypeProto {
    of(Kind::MapType(Box::new(type_proto::Map { key_type: Some(key), value_type: Some(Box::new(inner)) })))
}

/// The type that the importer gives to an input of a declared type.
#[track_caller]
fn shown(declared: TypeProto) -> String {
    let loaded = accepted(&model(graph(vec![value("x", declared)], vec![node("Identity", &["x"], &["y"])], &["y"])));
    assert_eq!(loaded.graph.fact(loaded.graph.outputs[0]), loaded.graph.fact(loaded.graph.inputs[0]));
    loaded.graph.fact(loaded.graph.inputs[0]).to_string()
}

#[test]
fn containers() {
    let f32s = || tensor_type(1, &[2, -1]);
    assert_eq!(shown(f32s()), "float32[2x?]");
    assert!(shown(sequence(f32s())).contains("float32[2x?]"));
    assert!(shown(optional(f32s())).contains("float32[2x?]"));
    assert!(shown(optional(sequence(f32s()))).contains("float32[2x?]"));
    assert!(shown(sequence(map(7, tensor_type(1, &[])))).contains("int64"));
    assert_eq!(shown(tensor_type(STRING, &[3])), "string[3]");
    // A sparse input is given dense.
    let shape = Some(TensorShapeProto::default());
    assert_eq!(shown(of(Kind::SparseTensorType(type_proto::SparseTensor { elem_type: Some(1), shape }))), "float32[scalar]");
}

#[test]
fn symbols_and_unknown_extents() {
    let dim = |value| Dimension { value, ..Dimension::default() };
    let dims = vec![
        dim(Some(dimension::Value::DimParam("batch".into()))),
        dim(None),
        dim(Some(dimension::Value::DimParam(String::new()))),
        dim(Some(dimension::Value::DimValue(0))),
    ];
    let tensor = |shape| of(Kind::TensorType(type_proto::Tensor { elem_type: Some(1), shape }));
    assert_eq!(shown(tensor(Some(TensorShapeProto { dim: dims }))), "float32[batchx?x?x0]");
    assert_eq!(shown(tensor(None)), "float32[?]");
}

#[test]
fn types_that_are_unfit() {
    let bad = |declared: TypeProto, parts: &[&str]| {
        let graph = graph(vec![value("x", declared)], vec![node("Identity", &["x"], &["y"])], &["y"]);
        refused(&model(graph), &[&["input `x`"], parts].concat());
    };
    for code in [-1, 27, 28, 29, i32::MAX, i32::MIN] {
        bad(tensor_type(code, &[1]), &[&format!("element type {code} of TensorProto is not supported")]);
        bad(sequence(tensor_type(code, &[1])), &[&format!("element type {code} of TensorProto is not supported")]);
        bad(map(code, tensor_type(1, &[])), &[&format!("element type {code} of TensorProto is not supported")]);
    }
    bad(map(7, sequence(tensor_type(1, &[]))), &["maps to tensors are supported"]);
    bad(map(1, tensor_type(1, &[])), &["keys", "float32"]);
    bad(of(Kind::OpaqueType(type_proto::Opaque { domain: Some("d".into()), name: Some("n".into()) })), &["opaque", "`d.n`"]);
    bad(TypeProto::default(), &["not declared"]);
    bad(tensor_type(0, &[1]), &["not declared"]);
}

#[test]
fn a_container_where_a_tensor_is_needed() {
    for declared in [sequence(tensor_type(1, &[2])), optional(tensor_type(1, &[2])), map(7, tensor_type(1, &[]))] {
        for op_type in ["Relu", "Shape", "Softmax"] {
            let graph = graph(vec![value("x", declared.clone())], vec![node(op_type, &["x"], &["y"])], &["y"]);
            refused(&model(graph), &[&format!("node `the_{op_type}` ({op_type}"), "input 0 must be a tensor"]);
        }
    }
    let graph = graph(vec![floats("x", &[2])], vec![node("SequenceLength", &["x"], &["y"])], &["y"]);
    refused(&model(graph), &["node `the_SequenceLength` (SequenceLength", "input 0 must be a sequence"]);
}

#[test]
fn declarations_that_contradict_the_operator() {
    let relu = || graph(vec![floats("x", &[2])], vec![node("Relu", &["x"], &["y"])], &["y"]);
    let mut wrong = relu();
    wrong.output = vec![value("y", tensor_type(7, &[2]))];
    refused(&model(wrong), &["`y`", "declared as int64[2]", "node `the_Relu` (Relu)", "gives float32[2]"]);
    let mut wrong = relu();
    wrong.output = vec![value("y", sequence(tensor_type(1, &[2])))];
    refused(&model(wrong), &["`y`", "node `the_Relu` (Relu)", "gives float32[2]"]);
    // A wrong shape is the exporter's mistake; what the operator says is used.
    let mut lenient = relu();
    lenient.output = vec![floats("y", &[7])];
    let loaded = accepted(&model(lenient));
    assert_eq!(loaded.graph.fact(loaded.graph.outputs[0]).to_string(), "float32[2]");
    // An output may be undeclared.
    let mut bare = relu();
    bare.output = vec![untyped("y")];
    accepted(&model(bare));
}
