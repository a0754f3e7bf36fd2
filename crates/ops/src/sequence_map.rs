//! `SequenceMap` (<https://onnx.ai/onnx/operators/onnx__SequenceMap.html>), one version only, opset 17.

use std::sync::Arc;

use inferrum_graph::{
    CallBody, Control, Fact, Facts, Graph, Inputs, NodeDef, OpError, OpKey, Operator, interpret,
};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::body::{captured_facts, captured_values, infer_body, is_pure, without_value};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("SequenceMap", OpEntry::VARIADIC, SequenceMap::parse)];

/// Runs a body for each item of a sequence. Inputs: a sequence, then sequences of the same length (the body takes the
/// item at the same place) or tensors (the body takes them whole), then what the body captures. Outputs: for each
/// output of the body the sequence of its results.
#[derive(Debug, Clone)]
pub struct SequenceMap {
    /// What is run.
    pub body: Arc<Graph>,
    /// How many of the node's inputs, at their end, are the body's last inputs.
    pub captures: usize,
}

impl SequenceMap {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let body = def.graph("body")?.ok_or_else(|| OpError::attribute("body", "a graph", "nothing"))?;
        Ok(Arc::new(SequenceMap { body, captures: def.captures }))
    }

    /// Facts of what a call takes of the node's own inputs.
    fn items(inputs: Facts<'_>, own: usize) -> Result<Vec<Fact>, OpError> {
        let mut items = Vec::with_capacity(inputs.len());
        for index in 0..own {
            items.push(match inputs.require(index)? {
                Fact::Sequence(item) => (**item).clone(),
                Fact::Unknown => Fact::Unknown,
                other if index == 0 => {
                    return Err(OpError::Kind { index, expected: "a sequence", got: other.to_string() });
                }
                other => other.clone(),
            });
        }
        Ok(items)
    }
}

impl Operator for SequenceMap {
    fn key(&self) -> OpKey {
        OpKey::onnx("SequenceMap")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (own, captured) = captured_facts(inputs, self.captures)?;
        let mut items = SequenceMap::items(inputs, own)?;
        items.extend(captured);
        let results = infer_body(&self.body, &items)?;
        Ok(results.iter().map(|item| Fact::Sequence(Box::new(without_value(item)))).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        self.run(inputs, &mut |_, values| Ok(interpret(&self.body, values)?))
    }

    fn is_pure(&self) -> bool {
        is_pure(&self.body)
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }

    fn control(&self) -> Option<&dyn Control> {
        Some(self)
    }
}

impl Control for SequenceMap {
    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![&self.body]
    }

    fn with_bodies(&self, bodies: Vec<Arc<Graph>>) -> Arc<dyn Operator> {
        let body = bodies.into_iter().next().unwrap_or_else(|| self.body.clone());
        Arc::new(SequenceMap { body, captures: self.captures })
    }

    fn body_inputs(&self, inputs: Facts<'_>) -> Result<Vec<Vec<Fact>>, OpError> {
        let (own, captured) = captured_facts(inputs, self.captures)?;
        let items = SequenceMap::items(inputs, own)?;
        Ok(vec![items.iter().chain(&captured).map(without_value).collect()])
    }

    fn run(&self, inputs: Inputs<'_>, call: &mut CallBody<'_>) -> Result<Vec<Value>, OpError> {
        let (own, captured) = captured_values(inputs, self.captures)?;
        let length = inputs.sequence(0)?.len();
        let mut outputs: Vec<Vec<Value>> = vec![Vec::new(); self.body.outputs.len()];
        for place in 0..length {
            let mut values = Vec::with_capacity(inputs.len());
            for index in 0..own {
                values.push(match inputs.require(index)? {
                    Value::Sequence(items) => items.get(place).cloned().ok_or_else(|| {
                        OpError::value(
                            index,
                            format!("the sequence has {} items, the first one {length}", items.len()),
                        )
                    })?,
                    other => other.clone(),
                });
            }
            values.extend_from_slice(&captured);
            for (list, result) in outputs.iter_mut().zip(call(0, values)?) {
                list.push(result);
            }
        }
        Ok(outputs.into_iter().map(Value::Sequence).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parse_at;
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    fn reshape_all() -> Arc<dyn Operator> {
        let mut body = Graph::new("body");
        let x = body.add_input("x", Fact::of_dtype(DType::F32));
        let shape = body.add_input("shape", Fact::of_dtype(DType::I64));
        let y = body.add_node("y", parse_at(14, "Reshape", &[]), vec![Some(x), Some(shape)]).unwrap();
        body.outputs = vec![y, shape];
        parse_at(17, "SequenceMap", &[("body", Attr::Graph(Arc::new(body)))])
    }

    fn run(shapes: Value) -> Result<Vec<Value>, OpError> {
        let items = |n: usize| Value::Tensor(Tensor::zeros(DType::F32, [n]).unwrap());
        let values = [Value::Sequence(vec![items(2), items(4)]), shapes];
        let refs: Vec<Option<&Value>> = values.iter().map(Some).collect();
        let op = reshape_all();
        Inputs(&refs).with_facts(|facts| op.infer(facts))?;
        op.reference(Inputs(&refs))
    }

    fn shapes(value: &Value) -> Vec<Vec<usize>> {
        match value {
            Value::Sequence(items) => {
                items.iter().map(|item| item.as_tensor().unwrap().shape().to_vec()).collect()
            }
            other => panic!("{}", other.describe()),
        }
    }

    #[test]
    fn sequences_are_walked_and_tensors_repeated() {
        let to = |dims: &[i64]| Value::Tensor(Tensor::vector(dims.to_vec()));
        assert_eq!(shapes(&run(to(&[-1, 2])).unwrap()[0]), [[1, 2], [2, 2]]);
        let each = Value::Sequence(vec![to(&[2, 1]), to(&[1, 4])]);
        let outputs = run(each).unwrap();
        assert_eq!(shapes(&outputs[0]), [[2, 1], [1, 4]]);
        assert_eq!(shapes(&outputs[1]), [[2], [2]]);
    }

    #[test]
    fn lengths_must_agree() {
        assert!(matches!(run(Value::Sequence(Vec::new())), Err(OpError::Value { index: 1, .. })));
    }
}
