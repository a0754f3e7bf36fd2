//! Shapes of inputs that are made up.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use inferrum::graph::{Fact, ShapeFact, SymDim, TensorFact};
use inferrum::{Value, ValueInfo};

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
}

impl Assumed {
    /// The shapes that the user gives for `inputs`, and a batch size for the first axes that are open.
    pub(crate) fn new(given: &[ShapeArg], inputs: &[ValueInfo], batch: Option<usize>) -> Result<Assumed> {
        let mut assumed = Assumed { shapes: HashMap::new(), symbols: HashMap::new(), batch };
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

    /// An input's fact with every extent a number: the user's, else that of its symbol, else the batch on the first
    /// axis, else 1.
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
                dims.iter().enumerate().map(|(axis, dim)| SymDim::Known(self.extent(axis, dim))).collect()
            }
        };
        TensorFact { dtype: tensor.dtype, shape, value: None }
    }

    fn extent(&self, axis: usize, dim: &SymDim) -> usize {
        let symbol = match dim {
            SymDim::Known(n) => return *n,
            SymDim::Symbol(name) => self.symbols.get(name).copied(),
            SymDim::Unknown => None,
        };
        symbol.or(self.batch.filter(|_| axis == 0)).unwrap_or(1)
    }
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
