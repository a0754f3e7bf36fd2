//! What is known of the results of a control-flow operator's body.

use inferrum_graph::{Fact, Facts, Graph, Inputs, Node, OpError, ShapeFact, SymDim, TensorFact, evaluate};
use inferrum_tensor::{Shape, Value};

/// Elements up to which a body's known values are folded while its facts are inferred: shapes and the like.
const FOLDED_ELEMENTS: usize = 1024;

/// Rounds of [`fixed_point`] after which only element types are kept; a few rounds settle every usual loop.
const PATIENCE: usize = 8;

/// The facts of a node's own inputs and of those that its bodies capture.
///
/// # Errors
/// A captured value is left out.
pub(crate) fn captured_facts(inputs: Facts<'_>, captures: usize) -> Result<(usize, Vec<Fact>), OpError> {
    let own = inputs.len().saturating_sub(captures);
    let captured =
        (own..inputs.len()).map(|index| inputs.require(index).cloned()).collect::<Result<_, _>>()?;
    Ok((own, captured))
}

/// How many inputs are the node's own, and the values that its bodies capture.
///
/// # Errors
/// A captured value is left out.
pub(crate) fn captured_values(inputs: Inputs<'_>, captures: usize) -> Result<(usize, Vec<Value>), OpError> {
    let own = inputs.len().saturating_sub(captures);
    let captured =
        (own..inputs.len()).map(|index| inputs.require(index).cloned()).collect::<Result<_, _>>()?;
    Ok((own, captured))
}

/// What is known of a body's outputs when `inputs` is known of its inputs.
///
/// What the file declares inside the body serves only where nothing else is known: files declare shapes of
/// loop-carried values that hold in the first iteration only.
///
/// # Errors
/// The number of inputs differs; a node of the body refuses its inputs.
pub(crate) fn infer_body(body: &Graph, inputs: &[Fact]) -> Result<Vec<Fact>, OpError> {
    check_count(body, inputs.len())?;
    let mut facts: Vec<Fact> = body
        .values()
        .iter()
        .map(|value| if value.fact.value().is_some() { value.fact.clone() } else { Fact::Unknown })
        .collect();
    for (&id, fact) in body.inputs.iter().zip(inputs) {
        facts[id.index()] = completed(fact, body.fact(id));
    }
    for node in body.nodes() {
        let known: Vec<Option<&Fact>> =
            node.inputs.iter().map(|id| id.map(|id| &facts[id.index()])).collect();
        let inferred = match node.op.infer(Facts(&known)) {
            Ok(inferred) => folded(node, &known, &inferred).unwrap_or(inferred),
            // An operator that needs a tensor cannot tell an unknown value from a wrong one.
            Err(_) if known.iter().flatten().any(|fact| **fact == Fact::Unknown) => Vec::new(),
            Err(source) => return Err(node.error(&known, source).into()),
        };
        for (slot, id) in node.outputs.iter().enumerate() {
            if let Some(id) = id {
                facts[id.index()] = completed(inferred.get(slot).unwrap_or(&Fact::Unknown), body.fact(*id));
            }
        }
    }
    Ok(body.outputs.iter().map(|id| facts[id.index()].clone()).collect())
}

/// That a body is given as many values as it takes.
///
/// # Errors
/// It is not.
pub(crate) fn check_count(body: &Graph, given: usize) -> Result<(), OpError> {
    let takes = body.inputs.len();
    if takes == given {
        return Ok(());
    }
    Err(OpError::Invalid(format!("body `{}` takes {takes} values, but the node gives it {given}", body.name)))
}

/// Whether every node of a body is, and so the node that runs it.
pub(crate) fn is_pure(body: &Graph) -> bool {
    body.nodes().iter().all(|node| node.op.is_pure())
}

/// The outputs' facts with elements, where all inputs' elements are known and the work is small.
fn folded(node: &Node, inputs: &[Option<&Fact>], outputs: &[Fact]) -> Option<Vec<Fact>> {
    let small = |fact: &Fact| fact.concrete_shape().is_some_and(|shape| shape.elements() <= FOLDED_ELEMENTS);
    let pure = node.op.is_pure() && node.op.control().is_none();
    if !pure || outputs.iter().all(|fact| fact.value().is_some()) || !outputs.iter().all(small) {
        return None;
    }
    let values: Vec<Option<Value>> = inputs
        .iter()
        .map(|fact| match fact {
            None => Some(None),
            Some(fact) if small(fact) => fact.value().map(|tensor| Some(Value::Tensor(tensor.clone()))),
            Some(_) => None,
        })
        .collect::<Option<_>>()?;
    let refs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    let results = evaluate(&*node.op, Inputs(&refs)).ok()?;
    results.into_iter().map(|value| value.into_tensor().map(Fact::constant)).collect()
}

/// `fact`, with what is declared in the places where it says nothing at all.
fn completed(fact: &Fact, declared: &Fact) -> Fact {
    match (fact, declared) {
        (Fact::Unknown, declared) => without_names(declared),
        (Fact::Sequence(item), Fact::Sequence(declared)) => {
            Fact::Sequence(Box::new(completed(item, declared)))
        }
        (Fact::Optional(item), Fact::Optional(declared)) => {
            Fact::Optional(Box::new(completed(item, declared)))
        }
        (fact, _) => fact.clone(),
    }
}

/// A declared fact without its symbols: an equal name outside the body means another extent.
fn without_names(fact: &Fact) -> Fact {
    match fact {
        Fact::Tensor(TensorFact { dtype, shape, .. }) => {
            let number = |dim: &SymDim| dim.known().map_or(SymDim::Unknown, SymDim::Known);
            let shape =
                shape.dims().map_or_else(ShapeFact::unknown, |dims| dims.iter().map(number).collect());
            Fact::tensor(*dtype, shape)
        }
        Fact::Sequence(item) => Fact::Sequence(Box::new(without_names(item))),
        Fact::Optional(item) => Fact::Optional(Box::new(without_names(item))),
        other => other.clone(),
    }
}

/// What is known of loop-carried values before every iteration, and of the results of any iteration.
///
/// `step` gives the facts after an iteration that starts with the given ones; the carried values are the first.
///
/// # Errors
/// Those of `step`.
pub(crate) fn fixed_point(
    initial: &[Fact],
    mut step: impl FnMut(&[Fact]) -> Result<Vec<Fact>, OpError>,
) -> Result<(Vec<Fact>, Vec<Fact>), OpError> {
    let mut carried: Vec<Fact> = initial.iter().map(without_value).collect();
    for round in 0.. {
        let results = step(&carried)?;
        let mut joined: Vec<Fact> =
            carried.iter().zip(&results).map(|(before, after)| joined(before, after)).collect();
        if joined == carried {
            return Ok((carried, results));
        }
        if round >= PATIENCE {
            joined = joined
                .iter()
                .map(|fact| if round > PATIENCE { Fact::Unknown } else { of_type(fact) })
                .collect();
        }
        carried = joined;
    }
    Ok((carried, Vec::new()))
}

/// A fact without the elements.
pub(crate) fn without_value(fact: &Fact) -> Fact {
    match fact {
        Fact::Tensor(tensor) => Fact::tensor(tensor.dtype, tensor.shape.clone()),
        other => other.clone(),
    }
}

fn of_type(fact: &Fact) -> Fact {
    fact.as_tensor().map_or(Fact::Unknown, |tensor| Fact::of_dtype(tensor.dtype))
}

/// What holds of either; the unknown item of an empty container takes the other's type.
pub(crate) fn joined(a: &Fact, b: &Fact) -> Fact {
    let item = |a: &Fact, b: &Fact| match (a, b) {
        (Fact::Unknown, known) | (known, Fact::Unknown) => Box::new(known.clone()),
        (a, b) => Box::new(joined(a, b)),
    };
    match (a, b) {
        (Fact::Sequence(a), Fact::Sequence(b)) => Fact::Sequence(item(a, b)),
        (Fact::Optional(a), Fact::Optional(b)) => Fact::Optional(item(a, b)),
        (a, b) => a.either(b),
    }
}

/// The shape of a tensor of which only a fact is known because it was never computed; unknown extents are 0.
///
/// # Errors
/// It is no tensor, or of unknown type.
pub(crate) fn shape_of_nothing(fact: &Fact) -> Result<(inferrum_tensor::DType, Shape), OpError> {
    let tensor = fact.as_tensor().ok_or_else(|| {
        OpError::Invalid(format!("nothing was iterated over, and the type of the output is {fact}"))
    })?;
    let dims = tensor.shape.dims().unwrap_or(&[]);
    Ok((tensor.dtype, dims.iter().map(|dim| dim.known().unwrap_or(0)).collect()))
}
