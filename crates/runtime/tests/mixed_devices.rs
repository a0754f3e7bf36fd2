//! Models of which a GPU runs a part and the processor the rest.

#![cfg(feature = "wgpu")]

use std::collections::BTreeMap;
use std::sync::Arc;

use inferrum::graph::{Attr, Fact, Graph, NodeDef, ValueId};
use inferrum::{Bindings, Crossing, DType, Device, Error, Inputs, RunOptions, Session, Tensor, TransferLog};

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

/// So many numbers that it is no little work to go on with them on the processor.
const MANY: [usize; 2] = [64, 401];

/// `Relu(x) * Hardmax(Exp(x))`, twice: once as an output, once squared. No GPU kernel for Hardmax exists.
fn mixed() -> Graph {
    let mut graph = Graph::new("mixed");
    let x = graph.add_input("x", Fact::tensor(DType::F32, MANY));
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

fn input_of(shape: [usize; 2], seed: usize) -> Tensor {
    let count = shape[0] * shape[1];
    let numbers: Vec<f32> = (0..count).map(|i| ((i * 37 + seed * 11) % 51) as f32 / 10.0 - 2.5).collect();
    Tensor::from_vec(shape, numbers).expect("as many numbers")
}

fn input(seed: usize) -> Tensor {
    input_of([3, 17], seed)
}

#[test]
fn a_gpu_and_the_processor_share_a_model() {
    if !has_adapter() {
        return;
    }
    for (name, graph, shape) in [("mixed", mixed as fn() -> Graph, MANY), ("staged", staged, [3, 17])] {
        let on = |device: Device| Session::builder().device(device).build(graph()).expect("a session");
        let (gpu, cpu) = (on(wgpu()), on(Device::Cpu));
        for seed in 0..3 {
            let got = gpu.run([("x", input_of(shape, seed))]).expect("runs on the GPU");
            let want = cpu.run([("x", input_of(shape, seed))]).expect("runs on the processor");
            for (got, want) in got.iter().zip(want.iter()) {
                assert_eq!(got.1.as_tensor(), want.1.as_tensor(), "seed {seed}");
            }
        }
        let placement = gpu.placement();
        let on_gpu = placement.nodes.iter().filter(|node| node.device.starts_with("wgpu:")).count();
        assert!(on_gpu >= 1, "{placement}");
        // What the host reads of the staged graph does not go back.
        let back = placement.transfers.count(Crossing::ToDevice).0;
        assert_eq!(
            (back, placement.transfers.between().count()),
            (if name == "mixed" { (1, 2) } else { (0, 1) })
        );
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
        (0..4).map(|seed| session.run([("x", input_of(MANY, seed))]).expect("runs")[1].clone()).collect();
    std::thread::scope(|scope| {
        for (seed, want) in want.iter().enumerate() {
            let session = &session;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(&session.run([("x", input_of(MANY, seed))]).expect("runs")[1], want);
                }
            });
        }
    });
}

#[test]
fn what_crosses_is_counted_as_planned() {
    if !has_adapter() {
        return;
    }
    for (graph, shape) in [(mixed as fn() -> Graph, MANY), (staged, [3, 17])] {
        let session = Session::builder().device(wgpu()).build(graph()).expect("a session");
        for _ in 0..2 {
            let log = TransferLog::new();
            let options = RunOptions { transfers: Some(&log), ..RunOptions::default() };
            session.run_with([("x", input_of(shape, 1))], options).expect("it runs");
            assert_eq!(log.transfers(), session.placement().transfers);
        }
    }
    let session = Session::builder().device(wgpu()).build(mixed()).expect("a session");
    let transfers = session.placement().transfers;
    assert_eq!(transfers.count(Crossing::In), (1, 4 * (64 * 401)), "{transfers}");
    assert_eq!(transfers.count(Crossing::Out).0, 2, "{transfers}");
    let reasons: Vec<_> =
        transfers.between().map(|t| (t.crossing, t.node.clone(), t.reason.clone())).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!((reasons[0].0, reasons[0].1.as_deref()), (Crossing::ToHost, Some("Hardmax")));
    assert!(reasons.iter().all(|(.., reason)| reason.contains("no GPU kernel for")), "{reasons:?}");
    let on_cpu = Session::builder().device(Device::Cpu).build(mixed()).expect("a session");
    let log = TransferLog::new();
    let options = RunOptions { transfers: Some(&log), ..RunOptions::default() };
    on_cpu.run_with([("x", input_of(MANY, 1))], options).expect("it runs");
    assert!(log.transfers().is_empty() && on_cpu.placement().transfers.is_empty());
}

/// `sum = state + x`, and its double.
fn accumulator() -> Graph {
    let mut graph = Graph::new("accumulator");
    let state = graph.add_input("state", Fact::tensor(DType::F32, [3, 17]));
    let x = graph.add_input("x", Fact::tensor(DType::F32, [3, 17]));
    let sum = add(&mut graph, "Add", &[], &[state, x]);
    let double = add(&mut graph, "Add", &[], &[sum, sum]);
    graph.outputs = vec![sum, double];
    graph
}

#[test]
fn a_state_stays_on_the_device_between_runs() {
    let devices = if has_adapter() { vec![Device::Cpu, wgpu()] } else { vec![Device::Cpu] };
    for device in devices {
        let session = Session::builder().device(device.clone()).build(accumulator()).expect("a session");
        let name = session.outputs()[0].name.clone();
        let double = session.outputs()[1].name.clone();
        let mut bindings = Bindings::new().staying(&name);
        assert!(bindings.resident(&name).is_err());
        let log = TransferLog::new();
        let options = RunOptions { transfers: Some(&log), ..RunOptions::default() };
        let mut want = input(0).as_slice::<f32>().expect("float32").to_vec();
        let mut inputs = Inputs::new().with("state", input(0));
        for seed in 1..5 {
            want.iter_mut().zip(input(seed).as_slice::<f32>().expect("float32")).for_each(|(a, b)| *a += b);
            let outputs =
                session.run_bound(inputs.with("x", input(seed)), &mut bindings, options).expect("it runs");
            let doubled: Vec<f32> = want.iter().map(|x| x + x).collect();
            assert_eq!(
                (outputs.len(), outputs[double.as_str()].as_slice::<f32>().expect("float32")),
                (1, &doubled[..])
            );
            let kept = bindings.resident(&name).expect("it stayed");
            assert_eq!((kept.device(), kept.shape().dims()), (session.device().id.as_str(), &[3, 17][..]));
            assert_eq!(bindings.shape(&name), Some(kept.shape()));
            inputs = Inputs::new().with("state", kept);
        }
        let last = bindings.resident(&name).expect("it stayed").clone();
        assert_eq!(last.to_host().expect("it is read").as_slice::<f32>().expect("float32"), want);
        // The first state and each x went in, each double came out; no state ever did.
        let bytes = 4 * 51;
        let expected =
            if device == Device::Cpu { ((0, 0), (0, 0)) } else { ((5, 5 * bytes), (4, 4 * bytes)) };
        let transfers = log.transfers();
        assert_eq!((transfers.count(Crossing::In), transfers.count(Crossing::Out)), expected, "{transfers}");
        assert_eq!(transfers.between().count(), 0);
        assert!(session.run([("state", input(1).reshape([51]).expect("as many")), ("x", input(1))]).is_err());
        // Another device takes it through the host.
        let other = Session::builder().device(Device::Cpu).build(accumulator()).expect("a session");
        let log = TransferLog::new();
        let options = RunOptions { transfers: Some(&log), ..RunOptions::default() };
        let inputs = Inputs::new().with("state", &last).with("x", &last);
        let outputs = other.run_with(inputs, options).expect("it runs");
        let doubled: Vec<f32> = want.iter().map(|x| x + x).collect();
        assert_eq!(outputs[0].as_slice::<f32>().expect("float32"), doubled);
        assert_eq!(log.transfers().count(Crossing::In).0, if device == Device::Cpu { 0 } else { 2 });
    }
}

/// `state = state * w + 1`, some times over; on the way the greatest of each state is noted.
fn looped(noted: bool) -> Graph {
    let mut body = Graph::new("body");
    body.add_input("iteration", Fact::tensor(DType::I64, []));
    let condition = body.add_input("condition", Fact::tensor(DType::Bool, []));
    let state = body.add_input("state", Fact::tensor(DType::F32, MANY));
    let w = body.add_input("w", Fact::tensor(DType::F32, MANY));
    let one = body.add_constant("one", Tensor::scalar(1f32));
    let product = add(&mut body, "Mul", &[], &[state, w]);
    let next = add(&mut body, "Add", &[], &[product, one]);
    body.outputs = vec![condition, next];
    if noted {
        let greatest = add(&mut body, "ReduceMax", &[("keepdims", 0)], &[next]);
        body.outputs.push(greatest);
    }
    let mut graph = Graph::new("looped");
    let trips = graph.add_input("trips", Fact::tensor(DType::I64, []));
    let x = graph.add_input("x", Fact::tensor(DType::F32, MANY));
    let w = graph.add_input("w", Fact::tensor(DType::F32, MANY));
    let op = inferrum_ops::loop_::Loop::new(Arc::new(body), 1).expect("a loop");
    let last = graph.add_node("loop", Arc::new(op), vec![Some(trips), None, Some(x), Some(w)]);
    let last = last.expect("it takes the inputs");
    let negated = add(&mut graph, "Neg", &[], &[last]);
    graph.outputs = vec![negated];
    if noted {
        let notes = graph.add_value("notes", Fact::Unknown);
        graph.nodes_mut()[0].outputs.push(Some(notes));
        graph.outputs.push(notes);
        graph.infer().expect("the loop gives notes");
    }
    graph
}

#[test]
fn what_a_loop_carries_and_captures_stays_on_the_device() {
    if !has_adapter() {
        return;
    }
    for noted in [false, true] {
        let on = |device: Device| Session::builder().device(device).build(looped(noted)).expect("a session");
        let (gpu, cpu) = (on(wgpu()), on(Device::Cpu));
        for trips in [0usize, 1, 2, 7] {
            let inputs = || {
                let w: Vec<f32> = (0..64 * 401).map(|i| (i % 7) as f32 / 8.0).collect();
                let trips = Tensor::scalar(trips as i64);
                [
                    ("trips", trips),
                    ("x", input_of(MANY, 3)),
                    ("w", Tensor::from_vec(MANY, w).expect("as many")),
                ]
            };
            let log = TransferLog::new();
            let options = RunOptions { transfers: Some(&log), ..RunOptions::default() };
            let got = gpu.run_with(inputs(), options).expect("it runs");
            let want = cpu.run(inputs()).expect("it runs");
            for ((_, got), (_, want)) in got.iter().zip(want.iter()) {
                let (got, want) = (got.as_tensor().expect("a tensor"), want.as_tensor().expect("a tensor"));
                assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{trips} trips");
                let (got, want) = (got.to_f64().expect("floats"), want.to_f64().expect("floats"));
                assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() <= 1e-5), "{trips} trips");
            }
            // The first state and what is captured go in once; each note comes out; the last state comes out, negated.
            let transfers = log.transfers();
            let once = if trips == 0 { 1 } else { 2 };
            let notes = if noted { trips } else { 0 };
            let counts = [Crossing::In, Crossing::ToDevice, Crossing::ToHost, Crossing::Out];
            let counts = counts.map(|crossing| transfers.count(crossing).0);
            assert_eq!(counts, [0, once, notes, 1], "{trips} trips: {transfers:?}");
        }
    }
}
