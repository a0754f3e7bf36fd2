//! Messages, bodies, types and functions nested without end: errors, and no overflow of the stack.

use inferrum_onnx::{load_bytes, summary_bytes};
use prost::Message;

use crate::model::{accepted, body, computed, floats, function, graph, model, node, refused, tensor_type, value};
use crate::proto::type_proto::{self, Value as Kind};
use crate::proto::{FunctionProto, GraphProto, TypeProto};

/// Field `tag` of a message: its key and length, to be put before `len` bytes of content.
fn header(tag: u8, len: usize) -> Vec<u8> {
    let mut header = vec![(tag << 3) | 2];
    prost::encoding::encode_varint(len as u64, &mut header);
    header
}

/// The bytes of a model whose message fields `path` are nested `depth` times within its graph: built from the inside,
/// because the encoder would overflow the stack itself.
fn nested(path: &[u8], depth: usize) -> Vec<u8> {
    let mut headers = Vec::new();
    let mut len = 0;
    for &tag in path.iter().rev().cycle().take(depth * path.len()).chain(&[7]) {
        let header = header(tag, len);
        len += header.len();
        headers.push(header);
    }
    headers.into_iter().rev().flatten().collect()
}

#[test]
fn bodies_100_and_10_000_deep() {
    for depth in [100, 10_000] {
        // Graph: node 1: attribute 5: graph 6.
        let bytes = nested(&[1, 5, 6], depth);
        for error in [load_bytes(bytes.clone().into(), None).err(), summary_bytes(bytes.into()).err()] {
            let error = error.expect("it is refused").to_string();
            assert!(error.contains("recursion limit"), "{error}");
        }
    }
}

#[test]
fn bodies_as_deep_as_the_decoder_goes() {
    for depth in 1..40 {
        let mut inner = graph(vec![], vec![node("Relu", &["x"], &["y"])], &["y"]);
        for _ in 0..depth {
            let branches = node("If", &["flag"], &["y"]).with(body("then_branch", inner.clone())).with(body("else_branch", graph(vec![], vec![node("Neg", &["x"], &["y"])], &["y"])));
            inner = graph(vec![], vec![branches], &["y"]);
        }
        inner.input = vec![floats("x", &[2]), value("flag", tensor_type(9, &[]))];
        let model = model(inner);
        if depth < 30 {
            let loaded = accepted(&model);
            assert_eq!(loaded.graph.fact(loaded.graph.outputs[0]).to_string(), "float32[2]");
        } else if let Err(error) = load_bytes(model.encode_to_vec().into(), None) {
            assert!(error.to_string().contains("recursion limit"), "{error}");
        }
    }
}

#[test]
fn types_10_000_deep() {
    // Graph: input 11: type 2: sequence 4: element type 1: sequence 4: ...
    let inner = nested(&[4, 1], 10_000);
    let (_, sequence) = inner.split_at(inner.len() - 20_000);
    let mut bytes = Vec::new();
    for part in [header(2, sequence.len()), sequence.to_vec()] {
        bytes.extend(part);
    }
    let mut input = header(11, bytes.len());
    input.extend(bytes);
    let mut model = header(7, input.len());
    model.extend(input);
    assert!(load_bytes(model.into(), None).is_err());
    let mut declared = tensor_type(1, &[2]);
    for _ in 0..20 {
        let of = type_proto::Sequence { elem_type: Some(Box::new(declared)) };
        declared = TypeProto { value: Some(Kind::SequenceType(Box::new(of))), ..TypeProto::default() };
    }
    let lists = graph(vec![value("x", declared)], vec![node("Identity", &["x"], &["y"])], &["y"]);
    let loaded = accepted(&model_of(lists));
    assert!(loaded.graph.fact(loaded.graph.outputs[0]).to_string().contains("float32[2]"));
}

fn model_of(graph: GraphProto) -> crate::proto::ModelProto {
    model(graph)
}

/// Functions `f0` to `f{count - 1}`, each of which calls the next `calls` times; the last negates.
fn chain(count: usize, calls: usize) -> Vec<FunctionProto> {
    let step = |i: usize| {
        let value = |k: usize| if k == 0 { "a".to_owned() } else { format!("v{k}") };
        let op = if i + 1 == count { "Neg".to_owned() } else { format!("f{}", i + 1) };
        let domain = if i + 1 == count { "" } else { "local" };
        let nodes = (0..calls).map(|k| node(&op, &[&value(k)], &[&value(k + 1)]).of(domain).named(&format!("n{k}")));
        function(&format!("f{i}"), &["a"], nodes.collect(), &[&value(calls)])
    };
    (0..count).map(step).collect()
}

fn calling(functions: Vec<FunctionProto>) -> crate::proto::ModelProto {
    let call = node("f0", &["x"], &["y"]).of("local");
    model(graph(vec![floats("x", &[1])], vec![call], &["y"])).defining(functions)
}

#[test]
fn functions_that_call_each_other_without_end() {
    let itself = vec![function("f0", &["a"], vec![node("f0", &["a"], &["b"]).of("local")], &["b"])];
    refused(&calling(itself), &["function `local.f0` calls itself"]);
    let each_other = vec![
        function("f0", &["a"], vec![node("f1", &["a"], &["b"]).of("local")], &["b"]),
        function("f1", &["a"], vec![node("f2", &["a"], &["b"]).of("local")], &["b"]),
        function("f2", &["a"], vec![node("f0", &["a"], &["b"]).of("local")], &["b"]),
    ];
    refused(&calling(each_other), &["calls itself, directly or through others"]);
    // Through a body.
    let inner = || graph(vec![], vec![node("f0", &["a"], &["b"]).of("local")], &["b"]);
    let branches = node("If", &["a"], &["b"]).with(body("then_branch", inner())).with(body("else_branch", inner()));
    refused(&calling(vec![function("f0", &["a"], vec![branches], &["b"])]), &["function `local.f0` calls itself"]);
}

#[test]
fn functions_nested_deeply() {
    assert_eq!(computed(&accepted(&calling(chain(60, 1))), &[&[3.]]), [-3.]);
    for count in [100, 10_000] {
        refused(&calling(chain(count, 1)), &["nested more than 64 deep"]);
    }
}

#[test]
fn functions_that_unfold_without_end() {
    assert_eq!(computed(&accepted(&calling(chain(10, 2))), &[&[3.]]), [3.]);
    // 2^60 nodes of a file of some kilobytes.
    refused(&calling(chain(60, 2)), &["unfold to more than"]);
    refused(&calling(chain(8, 1000)), &["unfold to more than"]);
    // Few nodes with long names, which every call repeats.
    let mut long = chain(12, 4);
    for function in &mut long {
        function.node.iter_mut().for_each(|node| node.name = Some("n".repeat(100_000)));
    }
    refused(&calling(long), &["unfold to more than"]);
}
