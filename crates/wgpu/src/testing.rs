//! Compares a kernel with its operator's reference, on the machine's first adapter.

use std::sync::{Arc, OnceLock};

use inferrum_backend::{Backend, Region, Resident, RunContext};
use inferrum_graph::{Fact, Graph, Node, NodeId, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::WgpuBackend;

/// `|got - want| <= absolute + relative * |want|`.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    pub(crate) relative: f64,
    pub(crate) absolute: f64,
}

impl Tolerance {
    /// The same bits.
    pub(crate) const EXACT: Tolerance = Tolerance { relative: 0.0, absolute: 0.0 };
    /// Rounding of f32, a few times over.
    pub(crate) const CLOSE: Tolerance = Tolerance { relative: 2e-5, absolute: 2e-6 };
}

/// The backend to test with; None, with a note, where the machine has no adapter and none is required.
pub(crate) fn backend() -> Option<&'static WgpuBackend> {
    static BACKEND: OnceLock<Option<WgpuBackend>> = OnceLock::new();
    let open = || match WgpuBackend::open(None) {
        Ok(backend) => Some(backend),
        Err(unusable) if std::env::var_os("INFERRUM_REQUIRE_ADAPTER").is_some() => panic!("{unusable}"),
        Err(unusable) => {
            eprintln!("skipped: no adapter ({unusable})");
            None
        }
    };
    BACKEND.get_or_init(open).as_ref()
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
        _ => values.collect(),
    };
    Tensor::from_f64(dtype, shape, &values).expect("a real type")
}

/// A type of every way that elements stand in a GPU's memory.
pub(crate) fn stored() -> [DType; 6] {
    [DType::F32, DType::Bool, DType::I8, DType::U16, DType::I64, DType::U32]
}

/// Runs `op` on the GPU with `inputs`, by a kernel of its own, and compares with the reference.
pub(crate) fn agree(op: impl Operator, inputs: &[Tensor], tolerance: Tolerance) {
    agree_with(
        op,
        &inputs.iter().cloned().map(|tensor| Some((tensor, false))).collect::<Vec<_>>(),
        1,
        tolerance,
    );
}

/// As [`agree`]; each input may be left out, or be a constant, and there may be several outputs. Runs twice, so that what a
/// first run leaves behind does not matter.
pub(crate) fn agree_with(
    op: impl Operator,
    inputs: &[Option<(Tensor, bool)>],
    outputs: usize,
    tolerance: Tolerance,
) {
    let (graph, feeds) = graph(Arc::new(op), inputs, outputs);
    let want = inferrum_graph::interpret(&graph, feeds.iter().cloned().map(Value::Tensor).collect())
        .expect("reference runs");
    let facts: Vec<Fact> = want.iter().map(Fact::of).collect();
    let label = format!("{:?}", graph.nodes()[0].op);
    for got in runs(graph, feeds, &facts, 2) {
        for (index, (got, want)) in got.iter().zip(&want).enumerate() {
            let want = want.as_tensor().expect("a tensor");
            assert_close(got, want, tolerance, &format!("{label} output {index}"));
        }
    }
}

/// Runs `op` on the GPU with inputs that its reference refuses; its outputs, of the first input's type and of these shapes. None
/// without an adapter.
pub(crate) fn run(op: impl Operator, inputs: &[Tensor], shapes: &[Shape]) -> Option<Vec<Tensor>> {
    let given: Vec<_> = inputs.iter().cloned().map(|tensor| Some((tensor, false))).collect();
    let (graph, feeds) = graph(Arc::new(op), &given, shapes.len());
    let facts: Vec<Fact> = shapes.iter().map(|shape| Fact::tensor(inputs[0].dtype(), shape)).collect();
    runs(graph, feeds, &facts, 1).pop()
}

/// Why the GPU has no kernel for `op` with these inputs, each of which may be a constant; None without an adapter.
pub(crate) fn declined(op: impl Operator, inputs: &[(Tensor, bool)]) -> Option<String> {
    let backend = backend()?;
    let given: Vec<_> = inputs.iter().cloned().map(Some).collect();
    let (mut graph, _) = graph(Arc::new(op), &given, 1);
    let fact = Fact::tensor(inputs[0].0.dtype(), inputs[0].0.shape());
    graph.value_mut(graph.outputs[0]).fact = fact;
    let region = region(graph);
    Some(backend.claim(&region.bound(NodeId(0))).expect_err("it is declined").to_string())
}

fn region(graph: Graph) -> Region {
    Region {
        nodes: vec![NodeId(0)],
        facts: Arc::new(graph.values().iter().map(|value| value.fact.clone()).collect()),
        inputs: graph.inputs.clone(),
        outputs: graph.outputs.clone(),
        graph: Arc::new(graph),
    }
}

/// The outputs of `count` runs of a graph of one node by the GPU; no runs without an adapter.
fn runs(mut graph: Graph, feeds: Vec<Tensor>, outputs: &[Fact], count: usize) -> Vec<Vec<Tensor>> {
    let Some(backend) = backend() else { return Vec::new() };
    for (id, fact) in graph.outputs.clone().iter().zip(outputs) {
        graph.value_mut(*id).fact = fact.clone();
    }
    let region = region(graph);
    if let Err(decline) = backend.claim(&region.bound(NodeId(0))) {
        panic!("{:?} is declined: {decline}", region.graph.nodes()[0].op);
    }
    let executable = backend.compile(&region).expect("compiles");
    let residents: Vec<Resident> = feeds.into_iter().map(Resident::Host).collect();
    let run = |_| {
        let got = executable.run(&residents, Vec::new(), &RunContext::default()).expect("runs");
        let host = |got: &Option<Resident>| got.as_ref().expect("an output").to_host().expect("it is read");
        got.iter().map(host).collect()
    };
    (0..count).map(run).collect()
}

/// A graph of one node.
fn graph(op: Arc<dyn Operator>, inputs: &[Option<(Tensor, bool)>], outputs: usize) -> (Graph, Vec<Tensor>) {
    let mut graph = Graph::new("test");
    let mut feeds = Vec::new();
    let mut ids = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        ids.push(input.as_ref().map(|(tensor, constant)| {
            if *constant {
                return graph.add_constant(format!("c{i}"), tensor.clone());
            }
            feeds.push(tensor.clone());
            graph.add_input(format!("x{i}"), Fact::tensor(tensor.dtype(), tensor.shape()))
        }));
    }
    let results: Vec<_> = (0..outputs).map(|i| graph.add_value(format!("y{i}"), Fact::Unknown)).collect();
    graph.outputs = results.clone();
    let outputs = results.into_iter().map(Some).collect();
    graph.nodes_mut().push(Node { name: "node".into(), op, inputs: ids, outputs });
    (graph, feeds)
}

/// Panics, naming the first element, unless the two are close.
pub(crate) fn assert_close(got: &Tensor, want: &Tensor, tolerance: Tolerance, what: &str) {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{what}");
    let (got, want) = (got.to_f64().expect("numbers"), want.to_f64().expect("numbers"));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let same = got == want || (got.is_nan() && want.is_nan());
        let close = (got - want).abs() <= tolerance.absolute + tolerance.relative * want.abs();
        assert!(same || close, "{what}: element {i} is {got}, not {want}");
    }
}
