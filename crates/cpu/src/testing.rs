//! Compares a kernel with its operator's reference.

use std::sync::Arc;

use inferrum_backend::testing::{Case, Given, one_node, region};
pub(crate) use inferrum_backend::testing::{Tolerance, random, random_of, windows};
use inferrum_backend::{Backend, Executable, Resident, RunContext};
use inferrum_graph::{Fact, Graph, Node, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::CpuBackend;

/// Runs `op` on the CPU backend with fresh inputs, by a kernel of its own, and compares with the reference.
pub(crate) fn agree(op: impl Operator, inputs: &[Tensor], tolerance: Tolerance) {
    let given = inputs.iter().cloned().map(|tensor| Some((tensor, false))).collect();
    agree_on([Case::new(op, given, 1)], tolerance);
}

/// As [`agree`]; each input may be left out, or be a constant, and there may be several outputs.
pub(crate) fn agree_with(op: impl Operator, inputs: &[Given], outputs: usize, tolerance: Tolerance) {
    agree_on([Case::new(op, inputs.to_vec(), outputs)], tolerance);
}

/// As [`agree_with`], on each of the cases.
pub(crate) fn agree_on(cases: impl IntoIterator<Item = Case>, tolerance: Tolerance) {
    for case in cases {
        agree_case(&case, tolerance.times(case.slack));
    }
}

fn agree_case(case: &Case, tolerance: Tolerance) {
    let (mut graph, feeds) = one_node(Arc::clone(&case.op), &case.inputs, case.outputs);
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
    CpuBackend::new(Some(threads)).compile(&region(graph.clone())).expect("compiles")
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
