//! Compares a kernel with its operator's reference, on the machine's first adapter.

use std::sync::{Arc, OnceLock};

pub(crate) use inferrum_backend::testing::{Tolerance, random, random_of};
use inferrum_backend::testing::{one_node, region};
use inferrum_backend::{Backend, Region, Resident, RunContext};
use inferrum_graph::{Attr, Fact, Graph, NodeDef, NodeId, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::WgpuBackend;

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

/// The device of [`backend`].
pub(crate) fn gpu() -> Option<Arc<crate::gpu::Gpu>> {
    backend().map(|backend| Arc::clone(&backend.shared().gpu))
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
    let (graph, feeds) = one_node(Arc::new(op), inputs, outputs);
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
    let (graph, feeds) = one_node(Arc::new(op), &given, shapes.len());
    let facts: Vec<Fact> = shapes.iter().map(|shape| Fact::tensor(inputs[0].dtype(), shape)).collect();
    runs(graph, feeds, &facts, 1).pop()
}

/// Why the GPU has no kernel for `op` with these inputs, each of which may be a constant; None without an adapter.
pub(crate) fn declined(op: impl Operator, inputs: &[(Tensor, bool)]) -> Option<String> {
    let backend = backend()?;
    let given: Vec<_> = inputs.iter().cloned().map(Some).collect();
    let (mut graph, _) = one_node(Arc::new(op), &given, 1);
    let fact = Fact::tensor(inputs[0].0.dtype(), inputs[0].0.shape());
    graph.value_mut(graph.outputs[0]).fact = fact;
    let region = region(graph);
    Some(backend.claim(&region.bound(NodeId(0))).expect_err("it is declined").to_string())
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

/// Adds a node of an operator of the standard's with integer attributes.
pub(crate) fn add(
    graph: &mut Graph,
    op_type: &str,
    attrs: &[(&str, i64)],
    inputs: &[inferrum_graph::ValueId],
) -> inferrum_graph::ValueId {
    let attrs = attrs.iter().map(|(name, value)| ((*name).to_owned(), Attr::Int(*value))).collect();
    let mut def = NodeDef::new(op_type, 21, attrs);
    def.inputs = vec![true; inputs.len()];
    let op = inferrum_ops::parse("", &mut def).expect("it exists").expect("it is well-formed");
    let inputs = inputs.iter().copied().map(Some).collect();
    graph.add_node(op_type, op, inputs).expect("it takes the inputs")
}

/// All of a graph, whose shapes are known, as a region.
pub(crate) fn whole(graph: Graph) -> Region {
    Region {
        nodes: (0..graph.nodes().len()).map(NodeId).collect(),
        facts: Arc::new(graph.values().iter().map(|value| value.fact.clone()).collect()),
        inputs: graph.inputs.clone(),
        outputs: graph.outputs.clone(),
        graph: Arc::new(graph),
    }
}
