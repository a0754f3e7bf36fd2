//! Loads and runs a model of which nothing is known.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use inferrum::graph::{Fact, Graph, ShapeFact, SymDim, TensorFact, interpret};
use inferrum::{DType, Device, Error, RunOptions, Session, Shape, Stop, Tensor, Value};
use inferrum_tensor::AllocationLimit;

use super::Random;

/// Bytes that a hostile model may take.
pub const MEMORY: usize = 64 << 20;

/// Most elements of one input that are made up.
const ELEMENTS: usize = 1 << 14;

/// Most arithmetic operations of a run that is tried: what is asked is whether it is safe, not how fast it is.
const FLOPS: u64 = 30_000_000;

/// How long a run may take before it is stopped.
const DEADLINE: Duration = Duration::from_secs(2);

/// Loads the model, optimises and compiles it for the CPU and, if its inputs and its work are small, runs it with made-up
/// inputs there and, where it has no loops, by its references. What is chosen follows from the bytes alone.
///
/// # Errors
/// What a user would be told.
pub fn exercise(model: &[u8]) -> Result<(), Error> {
    let mut hasher = DefaultHasher::new();
    model.hash(&mut hasher);
    let mut random = Random::new(hasher.finish());
    let builder = Session::builder().device(Device::Cpu).threads(1).max_memory(MEMORY);
    let session = builder.optimize(!random.one_in(4)).load_bytes(model.to_vec())?;
    let Some(values) = inputs(&session, &mut random) else { return Ok(()) };
    let facts: Vec<Fact> = values.iter().map(Fact::of).collect();
    let plan = session.plan(&facts)?;
    if plan.flops() > FLOPS {
        return Ok(());
    }
    let stop = Stop::at(Instant::now() + DEADLINE);
    let outcome = session.run_with(values.clone(), RunOptions { stop: Some(&stop), ..RunOptions::default() });
    if plan.complete {
        by_reference(model, values)?;
    }
    outcome.map(drop)
}

/// References have no deadline, so only models whose work is known are run by them.
fn by_reference(model: &[u8], inputs: Vec<Value>) -> Result<(), Error> {
    let _limit = AllocationLimit::new(MEMORY);
    let graph = inferrum::onnx::load_bytes(model.to_vec().into(), None)?.graph;
    if graph.nodes().iter().all(|node| node.op.control().is_none()) && is_small(&graph) {
        interpret(&graph, inputs)?;
    }
    Ok(())
}

/// Whether no value of known shape is large: a device may leave out nodes that the reference computes.
fn is_small(graph: &Graph) -> bool {
    let shapes = graph.values().iter().filter_map(|value| value.fact.concrete_shape());
    shapes.map(|shape| shape.elements()).fold(0, usize::saturating_add) <= 1 << 20
}

fn inputs(session: &Session, random: &mut Random) -> Option<Vec<Value>> {
    session.inputs().iter().map(|input| value(&input.fact, random)).collect()
}

fn value(fact: &Fact, random: &mut Random) -> Option<Value> {
    Some(match fact {
        Fact::Tensor(declared) => Value::Tensor(tensor(declared, random)?),
        Fact::Sequence(item) => {
            let items = (0..random.below(3)).map(|_| value(item, random));
            Value::Sequence(items.collect::<Option<_>>()?)
        }
        Fact::Optional(_) if random.one_in(2) => Value::Optional(None),
        Fact::Optional(inner) => Value::Optional(Some(Box::new(value(inner, random)?))),
        Fact::Map { .. } | Fact::Unknown => return None,
    })
}

fn tensor(declared: &TensorFact, random: &mut Random) -> Option<Tensor> {
    let shape = shape(&declared.shape, random);
    let elements = shape.elements();
    if elements > ELEMENTS {
        return None;
    }
    match declared.dtype {
        DType::String => {
            let texts = ["", "a", "3.5", "A b", "žluť"];
            let strings = (0..elements).map(|_| random.pick(&texts).copied().unwrap_or_default().into());
            Tensor::from_strings(shape, strings.collect()).ok()
        }
        dtype @ (DType::Complex64 | DType::Complex128) => Tensor::zeros(dtype, shape).ok(),
        dtype if dtype.is_integer() && random.one_in(3) => {
            let numbers: Vec<i64> = (0..elements).map(|_| random.whole()).collect();
            Tensor::from_i64(dtype, shape, &numbers).ok()
        }
        dtype => {
            let numbers: Vec<f64> = (0..elements)
                .map(|_| if random.one_in(9) { random.float().into() } else { random.below(3) as f64 })
                .collect();
            Tensor::from_f64(dtype, shape, &numbers).ok()
        }
    }
}

/// Numbers for symbols (the same for the same name) and for what is unknown.
fn shape(declared: &ShapeFact, random: &mut Random) -> Shape {
    let Some(dims) = declared.dims() else {
        return (0..random.below(4)).map(|_| random.below(4)).collect();
    };
    dims.iter()
        .map(|dim| match dim {
            SymDim::Known(n) => *n,
            SymDim::Symbol(name) => 1 + name.len() % 3,
            SymDim::Unknown => random.below(5),
        })
        .collect()
}
