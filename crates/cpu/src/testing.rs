//! Compares a kernel with its operator's reference.

use std::sync::Arc;

use inferrum_backend::{Backend, Executable, Region, Resident, RunContext};
use inferrum_graph::{Fact, Graph, Node, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::CpuBackend;

/// `|got - want| <= absolute + relative * |want|`.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    pub(crate) relative: f64,
    pub(crate) absolute: f64,
}

impl Tolerance {
    /// The same bits.
    pub(crate) const EXACT: Tolerance = Tolerance { relative: 0.0, absolute: 0.0 };
}

/// Numbers between -3 and 3, others for another seed.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let numbers: Vec<f32> = (0..Shape::from(shape).elements())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u64 << 24) as f32) * 6.0 - 3.0
        })
        .collect();
    Tensor::from_vec(shape, numbers).expect("as many numbers as elements")
}

/// As [`random`], of any real type: integers between -10 and 10 (0 and 20 if unsigned), about as many true as false.
pub(crate) fn random_of(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let values = random(shape, seed).to_f64().expect("floats").into_iter();
    let values: Vec<f64> = match dtype {
        DType::Bool => values.map(|x| f64::from(u8::from(x > 0.0))).collect(),
        _ if dtype.is_unsigned_integer() => values.map(|x| (x.abs() * 7.0).floor()).collect(),
        _ if dtype.is_integer() => values.map(|x| (x * 3.5).floor()).collect(),
        DType::Complex128 => {
            let pairs = values.map(|x| [x, -x]).collect();
            return Tensor::from_vec(shape, pairs).expect("as many numbers as elements");
        }
        _ => values.collect(),
    };
    Tensor::from_f64(dtype, shape, &values).expect("a real type")
}

/// Runs `op` on the CPU backend with fresh inputs, by a kernel of its own, and compares with the reference.
pub(crate) fn agree(op: impl Operator, inputs: &[Tensor], tolerance: Tolerance) {
    agree_with(
        op,
        &inputs.iter().cloned().map(|tensor| Some((tensor, false))).collect::<Vec<_>>(),
        1,
        tolerance,
    );
}

/// As [`agree`]; each input may be left out, or be a constant, and there may be several outputs.
pub(crate) fn agree_with(
    op: impl Operator,
    inputs: &[Option<(Tensor, bool)>],
    outputs: usize,
    tolerance: Tolerance,
) {
    let op: Arc<dyn Operator> = Arc::new(op);
    let mut graph = Graph::new("test");
    let mut feeds = Vec::new();
    let ids = inputs
        .iter()
        .enumerate()
        .map(|(i, input)| {
            input.as_ref().map(|(tensor, constant)| {
                if *constant {
                    return graph.add_constant(format!("c{i}"), tensor.clone());
                }
                feeds.push(tensor.clone());
                graph.add_input(format!("x{i}"), Fact::tensor(tensor.dtype(), tensor.shape()))
            })
        })
        .collect();
    let results: Vec<_> = (0..outputs).map(|i| graph.add_value(format!("y{i}"), Fact::Unknown)).collect();
    graph.outputs = results.clone();
    let node =
        Node { name: "node".into(), op, inputs: ids, outputs: results.into_iter().map(Some).collect() };
    graph.nodes_mut().push(node);
    let want = inferrum_graph::interpret(&graph, feeds.iter().cloned().map(Value::Tensor).collect())
        .expect("reference runs");
    // The shapes that the reference gave, so that operators whose shapes depend on elements can be tested too.
    for (id, value) in graph.outputs.clone().iter().zip(&want) {
        graph.value_mut(*id).fact = Fact::of(value);
    }
    for threads in [1, 2] {
        let got = run(&graph, &feeds, threads);
        for (index, (got, want)) in got.iter().zip(&want).enumerate() {
            let want = want.as_tensor().expect("a tensor");
            assert_close(got, want, tolerance, &format!("{:?} output {index}", graph.nodes()[0].op));
        }
    }
}

/// Runs `op`, whose kernel must decline `inputs`, by its reference; the reason.
pub(crate) fn declined(op: impl Operator, inputs: &[Tensor]) -> String {
    let mut graph = Graph::new("test");
    let input = |(i, input): (usize, &Tensor)| {
        Some(graph.add_input(format!("x{i}"), Fact::tensor(input.dtype(), input.shape())))
    };
    let ids = inputs.iter().enumerate().map(input).collect();
    let output = graph.add_node("node", Arc::new(op), ids).expect("inputs fit");
    graph.outputs = vec![output];
    let executable = compile(&graph, 2);
    executable.run(&residents(inputs), Vec::new(), &RunContext::default()).expect("runs");
    executable.placement()[0].reason.clone().expect("declined")
}

/// The only output of `op` for `inputs`, by a kernel of its own.
pub(crate) fn computed(op: Arc<dyn Operator>, inputs: &[Tensor], threads: usize) -> Tensor {
    let mut graph = Graph::new("test");
    let input = |(i, input): (usize, &Tensor)| {
        Some(graph.add_input(format!("x{i}"), Fact::tensor(input.dtype(), input.shape())))
    };
    let ids = inputs.iter().enumerate().map(input).collect();
    let output = graph.add_node("node", op, ids).expect("inputs fit");
    graph.outputs = vec![output];
    run(&graph, inputs, threads).remove(0)
}

/// The message of the error that `op`'s kernel gives for `inputs`; `shapes` are those that its outputs would have, in the
/// first input's type.
pub(crate) fn fails(op: impl Operator, inputs: &[Tensor], shapes: &[Shape]) -> String {
    let mut graph = Graph::new("test");
    let ids = inputs
        .iter()
        .enumerate()
        .map(|(i, input)| Some(graph.add_input(format!("x{i}"), Fact::tensor(input.dtype(), input.shape()))))
        .collect();
    let dtype = inputs[0].dtype();
    let outputs: Vec<_> = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| graph.add_value(format!("y{i}"), Fact::tensor(dtype, shape)))
        .collect();
    graph.outputs = outputs.clone();
    let outputs = outputs.into_iter().map(Some).collect();
    graph.nodes_mut().push(Node { name: "node".into(), op: Arc::new(op), inputs: ids, outputs });
    compiled(&graph, 2)
        .run(&residents(inputs), Vec::new(), &RunContext::default())
        .expect_err("an error")
        .to_string()
}

fn residents(tensors: &[Tensor]) -> Vec<Resident> {
    tensors.iter().cloned().map(Resident::Host).collect()
}

fn run(graph: &Graph, feeds: &[Tensor], threads: usize) -> Vec<Tensor> {
    let outputs =
        compiled(graph, threads).run(&residents(feeds), Vec::new(), &RunContext::default()).expect("runs");
    outputs
        .into_iter()
        .map(|output| output.expect("a tensor").to_host().expect("in the host's memory"))
        .collect()
}

/// As [`compile`]; not by the node's reference.
fn compiled(graph: &Graph, threads: usize) -> Arc<dyn Executable> {
    let executable = compile(graph, threads);
    let placement = &executable.placement()[0];
    assert_ne!(placement.kernel, "reference", "declined: {:?}", placement.reason);
    executable
}

/// The graph's only node, compiled.
fn compile(graph: &Graph, threads: usize) -> Arc<dyn Executable> {
    let region = Region {
        graph: Arc::new(graph.clone()),
        nodes: vec![inferrum_graph::NodeId(0)],
        facts: Arc::new(graph.values().iter().map(|value| value.fact.clone()).collect()),
        inputs: graph.inputs.clone(),
        outputs: graph.outputs.clone(),
    };
    CpuBackend::new(Some(threads)).compile(&region).expect("compiles")
}

/// Panics, naming the first element, unless the two are close.
pub(crate) fn assert_close(got: &Tensor, want: &Tensor, tolerance: Tolerance, what: &str) {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{what}");
    if matches!(got.dtype(), DType::Complex64 | DType::Complex128)
        || tolerance.absolute == 0.0 && tolerance.relative == 0.0
    {
        assert!(got == want, "{what}: got {got:?}, want {want:?}");
        return;
    }
    for (i, (got, want)) in got.to_f64().unwrap().into_iter().zip(want.to_f64().unwrap()).enumerate() {
        let close = (got - want).abs() <= tolerance.absolute + tolerance.relative * want.abs();
        assert!(
            close || got == want || (got.is_nan() && want.is_nan()),
            "{what}, element {i}: got {got}, want {want}"
        );
    }
}
