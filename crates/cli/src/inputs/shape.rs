//! Shapes of inputs that are made up.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use inferrum::graph::{Fact, ShapeFact, SymDim, TensorFact};
use inferrum::{Plan, Value, ValueInfo};

use crate::suggest;

/// `NAME=1x3x224x224`, or without the name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShapeArg {
    name: Option<String>,
    dims: Vec<usize>,
}

impl FromStr for ShapeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<ShapeArg, String> {
        // A name may contain `=`; a shape does not.
        let (name, shape) = match text.rsplit_once('=') {
            Some((name, shape)) => (Some(name.to_owned()), shape),
            None => (None, text),
        };
        let scalar = shape.is_empty() || shape == "scalar";
        let parts = shape.split(['x', ',']).filter(|_| !scalar);
        let dims = parts.map(|dim| dim.trim().parse::<usize>()).collect::<Result<Vec<_>, _>>();
        let dims = dims.map_err(|_| format!("`{shape}` is no shape; expected one such as 1x3x224x224"))?;
        Ok(ShapeArg { name, dims })
    }
}

/// What is assumed of shapes that the model leaves open.
#[derive(Debug)]
pub(crate) struct Assumed {
    shapes: HashMap<String, Vec<usize>>,
    symbols: HashMap<Arc<str>, usize>,
    batch: Option<usize>,
    /// What [`Assumed::settle`] found.
    found: HashMap<Open, usize>,
}

/// An extent that the model leaves open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Open {
    /// Everywhere where this symbol stands.
    Symbol(Arc<str>),
    /// An axis of an input.
    Axis(String, usize),
}

/// What is tried for extents that are open: powers of two, the least first.
const TRIED: [usize; 13] = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384];
/// Open extents up to which each is tried alone before all are tried together.
const ALONE: usize = 8;
/// How long extents are tried.
const PATIENCE: Duration = Duration::from_secs(3);
/// The side of an image.
const SIDE: usize = 224;

impl Assumed {
    /// The shapes that the user gives for `inputs`, and a batch size for the first axes that are open.
    pub(crate) fn new(given: &[ShapeArg], inputs: &[ValueInfo], batch: Option<usize>) -> Result<Assumed> {
        let mut assumed =
            Assumed { shapes: HashMap::new(), symbols: HashMap::new(), batch, found: HashMap::new() };
        for ShapeArg { name, dims } in given {
            let input = match name {
                Some(name) => inputs.iter().find(|input| input.name == *name),
                None => match inputs {
                    [only] => Some(only),
                    _ => {
                        bail!("--shape needs NAME=: the model has {} inputs: {}", inputs.len(), names(inputs))
                    }
                },
            };
            let Some(input) = input else {
                let known: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
                let name = name.as_deref().unwrap_or_default();
                bail!("--shape: the model has no input `{name}`; {}", suggest::among(name, &known));
            };
            let shape = dims.iter().copied().map(SymDim::Known).collect::<ShapeFact>();
            let fits = input.fact.as_tensor().is_some_and(|tensor| tensor.shape.merge(&shape).is_some());
            ensure!(fits, "--shape: input `{}` is {}, which cannot be {shape}", input.name, input.fact);
            if let (Some(batch), Some(&first)) = (batch, dims.first()) {
                let open =
                    input.fact.as_tensor().and_then(|tensor| tensor.shape.dims()?.first()?.known()).is_none();
                ensure!(
                    !open || first == batch,
                    "--batch {batch}: --shape gives input `{}` the shape {shape}",
                    input.name
                );
            }
            assumed.bind(&input.fact, dims);
            assumed.shapes.insert(input.name.clone(), dims.clone());
        }
        if let Some(batch) = batch {
            let first = |input: &&ValueInfo| {
                let shape = &input.fact.as_tensor()?.shape;
                shape.dims()?.first().cloned()
            };
            let firsts: Vec<SymDim> = inputs.iter().filter_map(|input| first(&input)).collect();
            let open = firsts.iter().any(|dim| dim.known().is_none_or(|n| n == batch));
            ensure!(
                open || firsts.is_empty(),
                "--batch {batch}: the model fixes the first axis of every input: {}",
                names(inputs)
            );
        }
        Ok(assumed)
    }

    /// Takes what a value tells of symbols.
    pub(crate) fn learn(&mut self, fact: &Fact, value: &Value) {
        if let Some(tensor) = value.as_tensor() {
            self.bind(fact, tensor.shape());
        }
    }

    /// That an input's value has the shape that the user gives for it, if any.
    pub(crate) fn check(&self, input: &ValueInfo, value: &Value) -> Result<()> {
        let (Some(dims), Some(tensor)) = (self.shapes.get(&input.name), value.as_tensor()) else {
            return Ok(());
        };
        let said: ShapeFact = dims.iter().copied().map(SymDim::Known).collect();
        ensure!(tensor.shape().dims() == dims, "--shape says {said}, the file holds {}", tensor.shape());
        Ok(())
    }

    fn bind(&mut self, fact: &Fact, dims: &[usize]) {
        let declared = fact.as_tensor().and_then(|tensor| tensor.shape.dims()).unwrap_or_default();
        for (declared, &dim) in declared.iter().zip(dims) {
            if let SymDim::Symbol(name) = declared {
                self.symbols.entry(Arc::clone(name)).or_insert(dim);
            }
        }
    }

    /// Whether the user gave this input's shape.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// Finds extents that the model takes, as `plan` tells, and gives their plan; best are those with which nothing is
    /// empty, and every body can be planned too. What the user says is not changed.
    ///
    /// # Errors
    /// That of the first try, if none succeeds.
    pub(crate) fn settle(
        &mut self,
        inputs: &[ValueInfo],
        plan: impl Fn(&[Fact]) -> Result<Plan, inferrum::Error>,
    ) -> Result<Plan> {
        let facts = self.concrete_all(inputs);
        let (mut best, error) = match plan(&facts) {
            Ok(plan) if !is_empty(&plan, &facts) => return Ok(plan),
            Ok(plan) => (Some((HashMap::new(), plan)), None),
            Err(error @ (inferrum::Error::Node(_) | inferrum::Error::OutOfMemory { .. })) => {
                (None, Some(error))
            }
            Err(other) => return Err(other.into()),
        };
        // The batch is tried last: models take any as a rule, and then 1 is what is meant.
        let (open, all) = (self.open(inputs, false), self.open(inputs, true));
        let last = if all.len() > open.len() { attempts(&all) } else { Vec::new() };
        let (first, start) = (attempts(&open), Instant::now());
        let batch_from = first.len();
        for (index, found) in first.into_iter().chain(last).enumerate() {
            if start.elapsed() > PATIENCE || (index == batch_from && best.is_some()) {
                break;
            }
            self.found = found;
            let facts = self.concrete_all(inputs);
            match plan(&facts) {
                Ok(plan) if !is_empty(&plan, &facts) && all_planned(&plan) => return Ok(plan),
                Ok(plan) => best = best.or_else(|| Some((self.found.clone(), plan))),
                Err(_) => {}
            }
        }
        self.found.clear();
        if let Some((found, plan)) = best {
            self.found = found;
            return Ok(plan);
        }
        let facts: Vec<String> =
            inputs.iter().map(|input| format!("{}: {}", input.name, self.concrete(input))).collect();
        let advice =
            if all.is_empty() { "" } else { "; no other extents were found, so give them with --shape" };
        let error = error.map_or_else(|| anyhow::anyhow!("no shapes"), anyhow::Error::new);
        Err(error.context(format!("with {}{advice}", facts.join(", "))))
    }

    fn concrete_all(&self, inputs: &[ValueInfo]) -> Vec<Fact> {
        inputs.iter().map(|input| self.concrete(input)).collect()
    }

    /// A word on an input whose shape was found by trying.
    pub(crate) fn note(&self, input: &ValueInfo) -> &'static str {
        let dims = input.fact.as_tensor().and_then(|tensor| tensor.shape.dims()).unwrap_or_default();
        let found = |(axis, dim): (usize, &SymDim)| {
            Open::of(&input.name, axis, dim).is_some_and(|open| self.found.contains_key(&open))
        };
        let given = self.shapes.contains_key(&input.name);
        if !given && dims.iter().enumerate().any(found) { ", found by trying" } else { "" }
    }

    /// The extents that nothing decides; those of batches only with `batches`.
    fn open(&self, inputs: &[ValueInfo], batches: bool) -> Vec<Open> {
        let shape = |input: &ValueInfo| {
            input.fact.as_tensor().and_then(|tensor| tensor.shape.dims().map(<[_]>::to_vec))
        };
        let of_batch = |name: &Arc<str>| {
            let first =
                |dims: Vec<SymDim>| dims.len() > 1 && dims.first() == Some(&SymDim::Symbol(Arc::clone(name)));
            inputs.iter().filter_map(shape).any(first)
        };
        let mut all = Vec::new();
        for input in inputs.iter().filter(|input| !self.shapes.contains_key(&input.name)) {
            let dims = shape(input).unwrap_or_default();
            let first = usize::from(dims.len() > 1 && !batches);
            for (axis, dim) in dims.iter().enumerate().skip(first) {
                let decided = match dim {
                    SymDim::Symbol(name) => {
                        let batch_is_said = !batches || self.batch.is_some();
                        self.symbols.contains_key(name) || batch_is_said && of_batch(name)
                    }
                    _ => self.batch.is_some() && axis == 0,
                };
                let open = Open::of(&input.name, axis, dim).filter(|open| !decided && !all.contains(open));
                all.extend(open);
            }
        }
        all
    }

    /// An input's fact with every extent a number: the user's, else that of its symbol, else the batch on the first
    /// axis, else what was found, else a guess.
    pub(crate) fn concrete(&self, input: &ValueInfo) -> Fact {
        match &input.fact {
            Fact::Tensor(tensor) => Fact::Tensor(self.tensor(&input.name, tensor)),
            Fact::Sequence(inner) => Fact::Sequence(Box::new(self.inner(inner))),
            Fact::Optional(inner) => Fact::Optional(Box::new(self.inner(inner))),
            other => other.clone(),
        }
    }

    fn inner(&self, fact: &Fact) -> Fact {
        match fact {
            Fact::Tensor(tensor) => Fact::Tensor(self.tensor("", tensor)),
            Fact::Sequence(inner) => Fact::Sequence(Box::new(self.inner(inner))),
            Fact::Optional(inner) => Fact::Optional(Box::new(self.inner(inner))),
            other => other.clone(),
        }
    }

    fn tensor(&self, name: &str, tensor: &TensorFact) -> TensorFact {
        let shape: ShapeFact = match (self.shapes.get(name), tensor.shape.dims()) {
            (Some(dims), _) => dims.iter().copied().map(SymDim::Known).collect(),
            (None, None) => ShapeFact::from([1]),
            (None, Some(dims)) => {
                let extent = |(axis, dim)| {
                    let guess = if is_side(dims, axis) { SIDE } else { 1 };
                    SymDim::Known(self.extent(name, axis, dim).unwrap_or(guess))
                };
                dims.iter().enumerate().map(extent).collect()
            }
        };
        TensorFact { dtype: tensor.dtype, shape, value: None }
    }

    fn extent(&self, name: &str, axis: usize, dim: &SymDim) -> Option<usize> {
        let symbol = match dim {
            SymDim::Known(n) => return Some(*n),
            SymDim::Symbol(name) => self.symbols.get(name).copied(),
            SymDim::Unknown => None,
        };
        let found = || self.found.get(&Open::of(name, axis, dim)?).copied();
        symbol.or(self.batch.filter(|_| axis == 0)).or_else(found)
    }
}

impl Open {
    fn of(input: &str, axis: usize, dim: &SymDim) -> Option<Open> {
        match dim {
            SymDim::Known(_) => None,
            SymDim::Symbol(name) => Some(Open::Symbol(Arc::clone(name))),
            SymDim::Unknown => Some(Open::Axis(input.to_owned(), axis)),
        }
    }
}

/// What is tried, one after the other.
fn attempts(open: &[Open]) -> Vec<HashMap<Open, usize>> {
    if open.is_empty() {
        return Vec::new();
    }
    let all = |extent: usize| open.iter().map(|open| (open.clone(), extent)).collect::<HashMap<_, _>>();
    let mut attempts = vec![all(1)];
    for extent in TRIED {
        if (2..=ALONE).contains(&open.len()) {
            attempts.extend(open.iter().map(|open| HashMap::from([(open.clone(), extent)])));
        }
        attempts.push(all(extent));
    }
    attempts
}

fn has_no_elements(fact: &Fact) -> bool {
    fact.value().is_none() && fact.concrete_shape().is_some_and(|shape| shape.elements() == 0)
}

/// Whether a node computes nothing because its result has no elements, though its inputs have.
fn is_empty(plan: &Plan, inputs: &[Fact]) -> bool {
    !inputs.iter().any(has_no_elements) && plan.facts.iter().any(has_no_elements)
}

/// Whether every body is planned, and those of bodies.
fn all_planned(plan: &Plan) -> bool {
    plan.bodies.iter().all(|body| body.plan.as_ref().is_ok_and(all_planned))
}

/// Whether an axis is a side of images: of four axes the last two, or those before the last, where the channels are
/// grey or colours.
fn is_side(dims: &[SymDim], axis: usize) -> bool {
    let colours =
        |axis: usize| dims.get(axis).and_then(SymDim::known).is_some_and(|n| matches!(n, 1 | 3 | 4));
    dims.len() == 4 && ((colours(1) && axis >= 2) || (!colours(1) && colours(3) && (axis == 1 || axis == 2)))
}

fn names(inputs: &[ValueInfo]) -> String {
    inputs.iter().map(|input| format!("{}: {}", input.name, input.fact)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum::DType;

    fn input(name: &str, dims: Vec<SymDim>) -> ValueInfo {
        ValueInfo { name: name.into(), fact: Fact::tensor(DType::F32, ShapeFact::from(dims)) }
    }

    fn symbol(name: &str) -> SymDim {
        SymDim::Symbol(name.into())
    }

    #[test]
    fn shapes_are_read() {
        let parse = |text: &str| text.parse::<ShapeArg>().unwrap();
        assert_eq!(parse("x=1x3"), ShapeArg { name: Some("x".into()), dims: vec![1, 3] });
        assert_eq!(parse("a=b=2,0"), ShapeArg { name: Some("a=b".into()), dims: vec![2, 0] });
        assert_eq!(parse("x="), ShapeArg { name: Some("x".into()), dims: vec![] });
        assert!("1xx3".parse::<ShapeArg>().is_err() && "x=-1".parse::<ShapeArg>().is_err());
    }

    #[test]
    fn symbols_hold_for_all_inputs() {
        let inputs = [
            input("ids", vec![symbol("batch"), symbol("time")]),
            input("mask", vec![symbol("batch"), symbol("time"), SymDim::Unknown]),
        ];
        let shape = |assumed: &Assumed, i: usize| assumed.concrete(&inputs[i]).concrete_shape().unwrap();
        let assumed = Assumed::new(&["ids=2x7".parse().unwrap()], &inputs, None).unwrap();
        assert_eq!(shape(&assumed, 0).dims(), [2, 7]);
        assert_eq!(shape(&assumed, 1).dims(), [2, 7, 1]);
        let assumed = Assumed::new(&[], &inputs, Some(4)).unwrap();
        assert_eq!(shape(&assumed, 0).dims(), [4, 1]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let inputs = [input("x", vec![SymDim::Known(1), symbol("n")])];
        for wrong in ["y=1x2", "x=2x2", "x=1", "1x2x3"] {
            assert!(Assumed::new(&[wrong.parse().unwrap()], &inputs, None).is_err(), "{wrong}");
        }
        assert!(Assumed::new(&[], &inputs, Some(2)).is_err());
        assert!(Assumed::new(&["1x5".parse().unwrap()], &inputs, Some(1)).is_ok());
    }
}
