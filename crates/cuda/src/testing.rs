//! Compares a kernel with its operator's reference: on the host, with memory that is poisoned and guarded; and compiles every kernel
//! for the architectures that are supported.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use inferrum_backend::testing::{Case, Expected, Given, one_node, region};
pub(crate) use inferrum_backend::testing::{Tolerance, assert_close, random, random_of};
use inferrum_backend::{Backend, BackendError, BoundNode, Precision, Resident, RunContext};
use inferrum_graph::{Fact, NodeId, Operator, interpret};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::CudaBackend;
use crate::abilities::Abilities;
use crate::kernel::Lowered;
use crate::lower::lower;

/// Compute capabilities that kernels are made for.
pub(crate) const CAPABILITIES: [u32; 3] = [75, 80, 90];

/// The host in place of a GPU; or the GPU that `INFERRUM_TEST_CUDA` names: `cuda`, `cuda:1`.
pub(crate) fn backend() -> &'static CudaBackend {
    static BACKEND: OnceLock<CudaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        let device = std::env::var("INFERRUM_TEST_CUDA").unwrap_or_else(|_| "cuda:host".into());
        let selector = device.split_once(':').map(|(_, selector)| selector);
        CudaBackend::open(selector, Precision::F32).expect("INFERRUM_TEST_CUDA names a device that is there")
    })
}

/// A type of every size that elements have in a GPU's memory.
pub(crate) fn stored() -> [DType; 9] {
    use DType::*;
    [F32, F64, F16, BF16, Bool, I8, U16, I64, U32]
}

/// Runs `op` with `inputs`, by a kernel of its own, and compares with the reference.
pub(crate) fn agree(op: impl Operator, inputs: &[Tensor], tolerance: Tolerance) {
    let given = inputs.iter().cloned().map(|tensor| Some((tensor, false))).collect();
    agree_on([Case::new(op, given, 1)], tolerance);
}

/// As [`agree`], on each of the cases.
pub(crate) fn agree_on(cases: impl IntoIterator<Item = Case>, tolerance: Tolerance) {
    // Each case takes one of the two types of 16 bits, by turns: kernels have them by a macro.
    for (number, case) in cases.into_iter().enumerate() {
        let tolerance = tolerance.times(case.slack);
        agree_as(&case.expected(), tolerance, 0.0);
        for (turn, narrow) in [DType::F16, DType::BF16].into_iter().enumerate() {
            if (everything() || number % 2 == turn)
                && let Some(expected) = case.expected_in(narrow)
            {
                agree_as(&expected, tolerance, 1.0);
            }
        }
    }
}

/// Whether tests leave nothing out for the sake of time.
fn everything() -> bool {
    std::env::var_os("INFERRUM_TEST_ALL").is_some()
}

/// As [`agree_on`], of one type of floats only, and within this tolerance if that is narrow too.
pub(crate) fn agree_in(dtype: DType, cases: impl IntoIterator<Item = Case>, tolerance: Tolerance) {
    for case in cases {
        let tolerance = tolerance.times(case.slack);
        match dtype {
            DType::F32 => agree_as(&case.expected(), tolerance, 0.0),
            _ => case.expected_in(dtype).iter().for_each(|expected| agree_as(expected, tolerance, 1.0)),
        }
    }
}

/// As [`agree_on`], in all types of floats, where a library computes what products it can; gives how many those were.
pub(crate) fn agree_by_library(cases: impl IntoIterator<Item = Case>, tolerance: Tolerance) -> usize {
    let backend = CudaBackend::open(Some("host-library"), Precision::F32).expect("the host");
    let mut count = 0;
    for case in cases {
        let narrow = [DType::F16, DType::BF16].into_iter().filter_map(|narrow| case.expected_in(narrow));
        for (expected, units) in narrow.map(|expected| (expected, 1.0)).chain([(case.expected(), 0.0)]) {
            let kernels = agree_with_backend(&backend, &expected, tolerance.times(case.slack), units);
            count += kernels.iter().filter(|kernel| *kernel == crate::compile::LIBRARY).count();
        }
    }
    count
}

/// Runs three times, so that what a run leaves behind does not matter, and so that launches are replayed.
pub(crate) fn agree_as(expected: &Expected, tolerance: Tolerance, units: f64) {
    let region = region(expected.graph.clone());
    validate(&region.bound(NodeId(0)));
    agree_with_backend(backend(), expected, tolerance, units);
}

/// As [`agree_as`] on a backend; gives the kernels.
fn agree_with_backend(
    backend: &CudaBackend,
    expected: &Expected,
    tolerance: Tolerance,
    units: f64,
) -> Vec<String> {
    let label = format!("{:?}", expected.graph.nodes()[0].op);
    let region = region(expected.graph.clone());
    let bound = region.bound(NodeId(0));
    let types: Vec<DType> = expected.feeds.iter().map(Tensor::dtype).collect();
    if let Err(decline) = backend.claim(&bound) {
        // What is declined for its narrow type runs in float32, or on the host.
        assert!(units > 0.0, "{label} of {types:?} is declined: {decline}");
        eprintln!("skipped: {label} of {types:?}: {decline}");
        return Vec::new();
    }
    let executable = backend.compile(&region).expect("compiles");
    let residents: Vec<Resident> = expected.feeds.iter().cloned().map(Resident::Host).collect();
    for _ in 0..3 {
        let outputs = executable.run(&residents, Vec::new(), &RunContext::default());
        let outputs = outputs.unwrap_or_else(|error| panic!("{label} of {types:?}: {error}"));
        for (index, (got, want)) in outputs.into_iter().zip(&expected.want).enumerate() {
            let got = got.expect("an output").to_host().expect("it is on the host");
            let (unit, least) = match want.dtype() {
                DType::F16 => (2f64.powi(-10), 2f64.powi(-24)),
                DType::BF16 => (2f64.powi(-7), 0.0),
                _ => (0.0, 0.0),
            };
            let relative = tolerance.relative + units * unit;
            let tolerance = Tolerance { relative, absolute: tolerance.absolute + units * least };
            assert_close(&got, want, tolerance, &format!("{label} of {types:?}, output {index}"));
        }
    }
    executable.placement().iter().map(|placement| placement.kernel.clone()).collect()
}

/// What a kernel gives, of float32 and of this shape.
pub(crate) fn outputs(op: impl Operator, inputs: &[Given], shape: &[usize]) -> Vec<Tensor> {
    let (mut graph, feeds) = one_node(Arc::new(op), inputs, 1);
    graph.value_mut(graph.outputs[0]).fact = Fact::tensor(DType::F32, Shape::from(shape));
    let executable = backend().compile(&region(graph)).expect("compiles");
    let residents: Vec<Resident> = feeds.into_iter().map(Resident::Host).collect();
    let outputs = executable.run(&residents, Vec::new(), &RunContext::default()).expect("runs");
    outputs.into_iter().map(|got| got.expect("an output").to_host().expect("it is on the host")).collect()
}

/// What a run says of inputs that the reference refuses as well; outputs are of the first input's type and of these shapes.
pub(crate) fn fails(op: impl Operator, inputs: &[Tensor], shapes: &[Shape]) -> String {
    let given: Vec<_> = inputs.iter().cloned().map(|tensor| Some((tensor, false))).collect();
    fails_with(op, &given, shapes)
}

/// As [`fails`]; each input may be left out, or be a constant.
pub(crate) fn fails_with(op: impl Operator, inputs: &[Given], shapes: &[Shape]) -> String {
    let dtype = inputs[0].as_ref().expect("it is given").0.dtype();
    let (mut graph, feeds) = one_node(Arc::new(op), inputs, shapes.len());
    interpret(&graph, feeds.iter().cloned().map(Value::Tensor).collect())
        .expect_err("the reference refuses it");
    for (id, shape) in graph.outputs.clone().into_iter().zip(shapes) {
        graph.value_mut(id).fact = Fact::tensor(dtype, shape);
    }
    let executable = backend().compile(&region(graph)).expect("compiles");
    let residents: Vec<Resident> = feeds.into_iter().map(Resident::Host).collect();
    let error = executable.run(&residents, Vec::new(), &RunContext::default()).expect_err("it fails");
    assert!(matches!(error, BackendError::Node(_)), "{error}");
    error.to_string()
}

/// Why there is no kernel for `op` with these inputs, each of which may be a constant.
pub(crate) fn declined(op: impl Operator, inputs: &[(Tensor, bool)]) -> String {
    let given: Vec<_> = inputs.iter().cloned().map(Some).collect();
    let (mut graph, _) = one_node(Arc::new(op), &given, 1);
    let fact = Fact::tensor(inputs[0].0.dtype(), inputs[0].0.shape());
    graph.value_mut(graph.outputs[0]).fact = fact;
    let region = region(graph);
    backend().claim(&region.bound(NodeId(0))).expect_err("it is declined").to_string()
}

/// Panics unless the node's kernels, where it has some on a device of a capability, are compiled for that. Each source is compiled for one
/// of the capabilities, so that its variants share them out; for all of them with `INFERRUM_TEST_ALL`. A GPU compiles for itself.
fn validate(bound: &BoundNode<'_>) {
    if std::env::var_os("INFERRUM_TEST_CUDA").is_some() {
        return;
    }
    for (number, capability) in CAPABILITIES.into_iter().enumerate() {
        let abilities = Abilities { capability, ..backend().shared.abilities.clone() };
        let Ok(Lowered::Work(work)) = lower(bound, &abilities) else { continue };
        for kernel in &work.kernels {
            let mut hasher = DefaultHasher::new();
            kernel.source.hash(&mut hasher);
            if everything() || hasher.finish() % CAPABILITIES.len() as u64 == number as u64 {
                crate::nvidia::testing::compiles(&kernel.source, capability);
            }
        }
    }
}
