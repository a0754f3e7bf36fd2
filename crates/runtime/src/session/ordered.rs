//! The inputs of a run in the model's order, checked.

use std::collections::HashMap;

use inferrum_graph::{Fact, SymDim};
use inferrum_tensor::{Shape, Value};

use super::Session;
use crate::{Error, Input, Inputs};

impl Session {
    /// The inputs in the model's order, checked.
    pub(super) fn ordered(&self, inputs: Inputs) -> Result<Vec<Input>, Error> {
        let mut slots: Vec<Option<Input>> = vec![None; self.inputs.len()];
        for (position, (name, value)) in inputs.0.into_iter().enumerate() {
            let index = match &name {
                None => Some(position).filter(|&position| position < slots.len()),
                Some(name) => self.inputs.iter().position(|input| input.name == *name),
            };
            let Some(index) = index else {
                let known =
                    self.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
                let name = name.unwrap_or_else(|| format!("number {position}"));
                return Err(Error::UnknownName { kind: "input", name, known });
            };
            if slots[index].replace(value).is_some() {
                let name = self.inputs[index].name.clone();
                return Err(Error::Input { name, expected: "one value".into(), got: "two".into() });
            }
        }
        let missing: Vec<String> = self
            .inputs
            .iter()
            .zip(&slots)
            .filter(|(_, slot)| slot.is_none())
            .map(|(i, _)| i.name.clone())
            .collect();
        if !missing.is_empty() {
            let takes: Vec<String> =
                self.inputs.iter().map(|input| format!("{}: {}", input.name, input.fact)).collect();
            return Err(Error::MissingInputs { names: missing, takes: takes.join(", ") });
        }
        let mut values: Vec<Input> = slots.into_iter().flatten().collect();
        for (input, value) in self.inputs.iter().zip(&mut values) {
            scalar_where_declared(&input.fact, value)?;
        }
        self.check(&values)?;
        Ok(values)
    }

    /// Types and shapes are as declared, and a symbol is one number throughout.
    fn check(&self, values: &[Input]) -> Result<(), Error> {
        let mut symbols: HashMap<&str, usize> = HashMap::new();
        for (input, value) in self.inputs.iter().zip(values) {
            let wrong = || Error::Input {
                name: input.name.clone(),
                expected: input.fact.to_string(),
                got: value.describe(),
            };
            if input.fact.merge(&value.fact()).is_none() {
                return Err(wrong());
            }
            let (Some(declared), Some(shape)) = (input.fact.as_tensor(), value.shape()) else {
                continue;
            };
            for (dim, &extent) in declared.shape.dims().into_iter().flatten().zip(shape.dims()) {
                if let SymDim::Symbol(name) = dim
                    && *symbols.entry(name).or_insert(extent) != extent
                {
                    let expected = format!("{} with {name} = {}", input.fact, symbols[&**name]);
                    return Err(Error::Input { name: input.name.clone(), expected, got: value.describe() });
                }
            }
        }
        Ok(())
    }
}

/// One element is taken for a declared scalar whatever its shape, as other runtimes do: exporters and their users often
/// disagree there. What a device holds stays as it is.
fn scalar_where_declared(declared: &Fact, value: &mut Input) -> Result<(), Error> {
    let scalar = declared.as_tensor().is_some_and(|tensor| tensor.shape.rank() == Some(0));
    if let Input::Value(Value::Tensor(tensor)) = value
        && scalar
        && tensor.len() == 1
    {
        *tensor = tensor.reshape(Shape::scalar())?;
    }
    Ok(())
}
