//! Models of which a GPU runs a part and the processor the rest.

#![cfg(feature = "wgpu")]

use std::collections::BTreeMap;

use inferrum::graph::{Attr, Fact, Graph, NodeDef, ValueId};
use inferrum::{DType, Device, Error, Session, Tensor};

/// Whether this machine has an adapter, which `INFERRUM_REQUIRE_ADAPTER` asks for.
fn has_adapter() -> bool {
    let has = inferrum::devices().iter().any(|info| info.id.starts_with("wgpu:") && info.usable.is_ok());
    assert!(has || std::env::var_os("INFERRUM_REQUIRE_ADAPTER").is_none(), "no adapter");
    if !has {
        eprintln!("skipped: no adapter");
    }
    has
}

fn add(graph: &mut Graph, op_type: &str, attrs: &[(&str, i64)], inputs: &[ValueId]) -> ValueId {
    let attrs: BTreeMap<String, Attr> =
        attrs.iter().map(|(name, value)| ((*name).to_owned(), Attr::Int(*value))).collect();
    let mut def = NodeDef::new(op_type, 21, attrs);
    def.inputs = vec![true; inputs.len()];
    let op = inferrum_ops::parse("", &mut def).expect("it exists").expect("it is well-formed");
    let inputs = inputs.iter().copied().map(Some).collect();
    graph.add_node(op_type, op, inputs).expect("it takes the inputs")
}

/// `Relu(x) * Hardmax(Exp(x))`, twice: once as an output, once squared. No GPU kernel for Hardmax exists.
fn mixed() -> Graph {
    let mut graph = Graph::new("mixed");
    let x = graph.add_input("x", Fact::tensor(DType::F32, [3, 17]));
    let relu = add(&mut graph, "Relu", &[], &[x]);
    let exp = add(&mut graph, "Exp", &[], &[x]);
    let hardmax = add(&mut graph, "Hardmax", &[("axis", 1)], &[exp]);
    let product = add(&mut graph, "Mul", &[], &[relu, hardmax]);
    let square = add(&mut graph, "Mul", &[], &[product, product]);
    graph.outputs = vec![product, square];
    graph
}

/// The greatest elements, taken out by the places that NonZero gives: a shape that only the run knows, on the host.
fn staged() -> Graph {
    let mut graph = Graph::new("staged");
    let x = graph.add_input("x", Fact::tensor(DType::F32, [3, 17]));
    let limit = graph.add_constant("limit", Tensor::scalar(0.5f32));
    let great = add(&mut graph, "Greater", &[], &[x, limit]);
    let places = add(&mut graph, "NonZero", &[], &[great]);
    let places = add(&mut graph, "Transpose", &[], &[places]);
    let picked = add(&mut graph, "GatherND", &[], &[x, places]);
    let result = add(&mut graph, "Neg", &[], &[picked]);
    graph.outputs = vec![result];
    graph
}

fn wgpu() -> Device {
    "wgpu".parse().expect("a device")
}

fn input(seed: usize) -> Tensor {
    let numbers: Vec<f32> = (0..3 * 17).map(|i| ((i * 37 + seed * 11) % 51) as f32 / 10.0 - 2.5).collect();
    Tensor::from_vec([3, 17], numbers).expect("as many numbers")
}

#[test]
fn a_gpu_and_the_processor_share_a_model() {
    if !has_adapter() {
        return;
    }
    for graph in [mixed, staged] {
        let on = |device: Device| Session::builder().device(device).build(graph()).expect("a session");
        let (gpu, cpu) = (on(wgpu()), on(Device::Cpu));
        for seed in 0..3 {
            let got = gpu.run([("x", input(seed))]).expect("runs on the GPU");
            let want = cpu.run([("x", input(seed))]).expect("runs on the processor");
            for (got, want) in got.iter().zip(want.iter()) {
                assert_eq!(got.1.as_tensor(), want.1.as_tensor(), "seed {seed}");
            }
        }
        let placement = gpu.placement();
        let on_gpu = placement.nodes.iter().filter(|node| node.device.starts_with("wgpu:")).count();
        assert!(on_gpu >= 2, "{placement}");
    }
}

#[test]
fn what_is_declined_has_a_reason_and_a_strict_session_refuses_it() {
    if !has_adapter() {
        return;
    }
    let session = Session::builder().device(wgpu()).build(mixed()).expect("a session");
    let placement = session.placement();
    let declined: Vec<_> = placement.declined().collect();
    assert_eq!(declined.len(), 1, "{placement}");
    assert_eq!((declined[0].op.as_str(), declined[0].device.as_str()), ("Hardmax", "cpu"));
    assert!(declined[0].reason.as_deref().is_some_and(|reason| reason.contains("no GPU kernel")));
    let refused = Session::builder().device(wgpu()).strict(true).build(mixed()).map(|_| ());
    let error = refused.expect_err("Hardmax is declined");
    assert!(matches!(&error, Error::Declined { nodes, .. } if nodes.len() == 1), "{error}");
    assert!(error.to_string().contains("Hardmax"), "{error}");
}

#[test]
fn several_threads_share_a_session() {
    if !has_adapter() {
        return;
    }
    let session = Session::builder().device(wgpu()).build(mixed()).expect("a session");
    let want: Vec<_> =
        (0..4).map(|seed| session.run([("x", input(seed))]).expect("runs")[1].clone()).collect();
    std::thread::scope(|scope| {
        for (seed, want) in want.iter().enumerate() {
            let session = &session;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(&session.run([("x", input(seed))]).expect("runs")[1], want);
                }
            });
        }
    });
}
