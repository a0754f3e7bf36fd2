//! Compares a kernel with its operator's reference, on the machine's first adapter as it is and doing without some of its
//! abilities; and validates the shaders of every combination of abilities.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};

use inferrum_backend::testing::{Case, Expected, Given, one_node, region};
pub(crate) use inferrum_backend::testing::{Tolerance, assert_close, random, random_of};
use inferrum_backend::{Backend, BoundNode, Executable, Region, Resident, RunContext};
use inferrum_graph::{Attr, Fact, Graph, NodeDef, NodeId, Operator};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::abilities::{Abilities, Without};
use crate::edge;
use crate::legalize::HALF;
use crate::lower::{KERNELS, lower};
use crate::tuner::Forced;
use crate::{WgpuBackend, shaders};

/// What an adapter does without, from one test backend to the next.
const VARIANTS: [Without; 3] = [ALL, Without { subgroups: true, ..ALL }, Without { f16: true, ..ALL }];

/// Nothing is done without.
const ALL: Without = Without { f16: false, subgroups: false, i64: false, matrices: false, timestamps: false };

/// What kernels that take float16 decline of it, so that it is widened: how their reasons begin.
const NO_HALF: [&str; 2] = ["indices of float16", "reduction `"];

/// The backends to test with, the one that can do everything first; none, with a note, where the machine has no adapter and
/// none is required.
pub(crate) fn backends() -> &'static [WgpuBackend] {
    static BACKENDS: OnceLock<Vec<WgpuBackend>> = OnceLock::new();
    let open = |without| match WgpuBackend::open_without(None, without) {
        Ok(backend) => Some(backend),
        Err(unusable) if std::env::var_os("INFERRUM_REQUIRE_ADAPTER").is_some() => panic!("{unusable}"),
        Err(unusable) => {
            eprintln!("skipped: no adapter ({unusable})");
            None
        }
    };
    BACKENDS.get_or_init(|| VARIANTS.into_iter().map_while(open).collect())
}

/// The first of [`backends`].
pub(crate) fn backend() -> Option<&'static WgpuBackend> {
    backends().first()
}

/// The device of [`backend`].
pub(crate) fn gpu() -> Option<Arc<crate::gpu::Gpu>> {
    backend().map(|backend| Arc::clone(&backend.shared().gpu))
}

/// A type of every way that elements stand in a GPU's memory.
pub(crate) fn stored() -> [DType; 7] {
    [DType::F32, DType::F16, DType::Bool, DType::I8, DType::U16, DType::I64, DType::U32]
}

/// Runs `op` on the GPU with `inputs`, by a kernel of its own, and compares with the reference.
pub(crate) fn agree(op: impl Operator, inputs: &[Tensor], tolerance: Tolerance) {
    let given = inputs.iter().cloned().map(|tensor| Some((tensor, false))).collect();
    agree_on([Case::new(op, given, 1)], tolerance);
}

/// As [`agree`]; each input may be left out, or be a constant, and there may be several outputs.
pub(crate) fn agree_with(op: impl Operator, inputs: &[Given], outputs: usize, tolerance: Tolerance) {
    agree_on([Case::new(op, inputs.to_vec(), outputs)], tolerance);
}

/// Runs each of the cases on the GPU, by a kernel of its own, and compares with the reference. Runs twice, so that what a first run leaves
/// behind does not matter.
pub(crate) fn agree_on(cases: impl IntoIterator<Item = Case>, tolerance: Tolerance) {
    // A unit in the last place, which a driver may round down; below the normal numbers it is 2^-24.
    let unit = Tolerance { relative: 2f64.powi(-10), absolute: 2f64.powi(-24) };
    for case in cases {
        agree_within(&case, tolerance.times(case.slack), unit);
    }
}

/// As [`agree_on`]; `half` is what float16 may miss besides, where the operator's room takes that.
pub(crate) fn agree_within(case: &Case, tolerance: Tolerance, half: Tolerance) {
    let taken = KERNELS.find(case.op.as_ref()).is_some_and(|row| HALF.contains(&row.room));
    if let Some(expected) = taken.then(|| case.expected_in(DType::F16)).flatten() {
        let (relative, absolute) = (tolerance.relative + half.relative, tolerance.absolute + half.absolute);
        agree_as(&expected, &[tolerance, Tolerance { relative, absolute }], 1);
    }
    agree_as(&case.expected(), &[tolerance], 2);
}

/// Runs so many times and compares; the last tolerance is that of float16.
fn agree_as(expected: &Expected, tolerances: &[Tolerance], count: usize) {
    let facts: Vec<Fact> =
        expected.want.iter().map(|want| Fact::tensor(want.dtype(), want.shape())).collect();
    let label = format!("{:?}", expected.graph.nodes()[0].op);
    for got in runs(expected.graph.clone(), expected.feeds.clone(), &facts, count) {
        for (index, (got, want)) in got.iter().zip(&expected.want).enumerate() {
            let last = if want.dtype() == DType::F16 { tolerances.len() - 1 } else { 0 };
            assert_close(got, want, tolerances[last], &format!("{label} output {index}"));
        }
    }
}

/// The outputs of `op`, one of this shape, in each of its forms, on each of the [`backends`] with shaders of its own.
pub(crate) fn outputs(op: impl Operator, inputs: &[Given], shape: &[usize]) -> Vec<Vec<Tensor>> {
    let (graph, feeds) = one_node(Arc::new(op), inputs, 1);
    runs(graph, feeds, &[Fact::tensor(DType::F32, Shape::from(shape))], 1)
}

/// What a run on the GPU says of inputs that its reference refuses as well; outputs are of the first input's type and of these
/// shapes. None without an adapter.
pub(crate) fn fails(op: impl Operator, inputs: &[Tensor], shapes: &[Shape]) -> Option<String> {
    let given: Vec<_> = inputs.iter().cloned().map(|tensor| Some((tensor, false))).collect();
    fails_with(Arc::new(op), &given, shapes)
}

/// As [`fails`]; each input may be left out, or be a constant.
pub(crate) fn fails_with(op: Arc<dyn Operator>, inputs: &[Given], shapes: &[Shape]) -> Option<String> {
    let backend = backend()?;
    let dtype = inputs.iter().flatten().next().expect("an input").0.dtype();
    let (mut graph, feeds) = one_node(op, inputs, shapes.len());
    inferrum_graph::interpret(&graph, feeds.iter().cloned().map(Value::Tensor).collect())
        .expect_err("the reference refuses it");
    for (id, shape) in graph.outputs.clone().into_iter().zip(shapes) {
        graph.value_mut(id).fact = Fact::tensor(dtype, shape);
    }
    let executable = backend.compile(&region(graph)).expect("compiles");
    let residents: Vec<Resident> = feeds.into_iter().map(Resident::Host).collect();
    let error = executable.run(&residents, Vec::new(), &RunContext::default()).expect_err("it fails");
    assert!(matches!(error, inferrum_backend::BackendError::Node(_)), "{error}");
    Some(error.to_string())
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

/// The outputs of `count` runs of a graph of one node by the GPU in each of its forms, for each of the [`backends`] with shaders of its own; no runs
/// without an adapter.
fn runs(mut graph: Graph, feeds: Vec<Tensor>, outputs: &[Fact], count: usize) -> Vec<Vec<Tensor>> {
    for (id, fact) in graph.outputs.clone().iter().zip(outputs) {
        graph.value_mut(*id).fact = fact.clone();
    }
    let region = region(graph);
    let bound = region.bound(NodeId(0));
    for abilities in Abilities::every() {
        validate(&bound, &abilities);
    }
    let residents: Vec<Resident> = feeds.into_iter().map(Resident::Host).collect();
    let (mut all, mut seen) = (Vec::new(), Vec::new());
    for (number, backend) in backends().iter().enumerate() {
        let shaders = match shaders::of_node(&bound, &backend.shared.gpu.abilities) {
            Ok(shaders) if !seen.contains(&shaders) => shaders,
            Ok(_) => continue,
            Err(decline) if number == 0 => {
                // What an adapter declines that can do everything is not for want of abilities.
                let every =
                    Abilities { limits: backend.shared.gpu.limits.clone(), ..Abilities::every().remove(0) };
                if let Err(decline) = shaders::of_node(&bound, &every) {
                    let known = NO_HALF.iter().any(|reason| decline.0.starts_with(reason));
                    assert!(known, "{:?} is declined: {decline}", bound.node.op);
                }
                eprintln!("skipped: {:?}: {decline}", bound.node.op);
                return Vec::new();
            }
            Err(_) => continue,
        };
        seen.push(shaders);
        backend.claim(&bound).expect("it is lowered");
        let mut form = 0;
        loop {
            let forced = Forced::new(form);
            let lower = |bound: &BoundNode<'_>| lower(bound, &backend.shared.gpu.abilities, &forced);
            let executable = edge::wait(backend.shared.compile(&region, lower)).expect("compiles");
            let run = |_| {
                let got = executable.run(&residents, Vec::new(), &RunContext::default()).expect("runs");
                let host =
                    |got: &Option<Resident>| got.as_ref().expect("an output").to_host().expect("it is read");
                got.iter().map(host).collect()
            };
            all.extend((0..count).map(run));
            form += 1;
            if form >= forced.forms() {
                break;
            }
        }
    }
    all
}

/// Panics unless the node's shaders, where it has a kernel under these abilities, are valid.
fn validate(bound: &BoundNode<'_>, abilities: &Abilities) {
    static VALID: Mutex<Option<HashSet<([bool; 3], String)>>> = Mutex::new(None);
    let combination = [abilities.f16, abilities.subgroups, abilities.i64];
    for (name, text) in shaders::of_node(bound, abilities).unwrap_or_default() {
        let new = {
            let mut valid = VALID.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            valid.get_or_insert_default().insert((combination, text.clone()))
        };
        if new && let Err(error) = shaders::validate(&text, abilities) {
            panic!("shader `{name}` with {}:\n{error}\n{text}", abilities.names());
        }
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
