//! The reference that precisions are measured against: every operator's own reference, in f64.

use inferrum_graph::{Facts, Graph, Inputs, Node, NodeError, OpError, run_reference};
use inferrum_tensor::{DType, Tensor, Value};

/// A value of a run in f64.
#[derive(Clone)]
struct Wide {
    /// Floats are kept in f64.
    value: Value,
    /// The element type that the model gives it, if it is a tensor.
    declared: Option<DType>,
}

/// The outputs of `graph` for `inputs` in the order of [`Graph::inputs`], where floats (of 16, 32 and 64 bits) are kept
/// and computed in f64, and come out as f64.
///
/// A node whose operator does not take f64 (such as `QuantizeLinear`), or that works on sequences or runs bodies,
/// computes in the model's own types: its inputs are rounded to them, and its outputs widened again.
///
/// # Errors
/// A node fails; an input is missing.
pub fn interpret_f64(graph: &Graph, inputs: Vec<Value>) -> Result<Vec<Value>, NodeError> {
    let failed = |name: &str, source: OpError| NodeError {
        node: name.to_owned(),
        op: "value".into(),
        inputs: "()".into(),
        source,
    };
    let mut values: Vec<Option<Wide>> = vec![None; graph.values().len()];
    for (&id, value) in graph.inputs.iter().zip(inputs) {
        let value = Wide::of(value).map_err(|source| failed(&graph.value(id).name, source))?;
        values[id.index()] = Some(value);
    }
    for (slot, value) in values.iter_mut().zip(graph.values()) {
        if let (None, Some(constant)) = (&slot, value.fact.value()) {
            let wide = Wide::of(constant.clone().into()).map_err(|source| failed(&value.name, source))?;
            *slot = Some(wide);
        }
    }
    let mut uses: Vec<usize> = graph.consumers().iter().map(Vec::len).collect();
    graph.outputs.iter().for_each(|id| uses[id.index()] += 1);
    for node in graph.nodes() {
        let outputs = {
            let inputs: Vec<Option<&Wide>> =
                node.inputs.iter().map(|id| id.and_then(|id| values[id.index()].as_ref())).collect();
            run(node, &inputs)?
        };
        for (id, value) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                values[id.index()] = Some(value);
            }
        }
        for id in node.inputs.iter().flatten() {
            uses[id.index()] -= 1;
            if uses[id.index()] == 0 {
                values[id.index()] = None;
            }
        }
    }
    let outputs = graph.outputs.iter().map(|id| {
        let value = values[id.index()].as_ref().map(|wide| wide.value.clone());
        value.ok_or_else(|| {
            let nothing = OpError::Invalid("no node, input or constant gives this value".into());
            failed(&graph.value(*id).name, nothing)
        })
    });
    outputs.collect()
}

/// The outputs of a node: in f64 if its operator can.
fn run(node: &Node, inputs: &[Option<&Wide>]) -> Result<Vec<Wide>, NodeError> {
    let refused = |source: OpError| node.error(&[], source);
    let narrow: Vec<Option<Value>> = inputs
        .iter()
        .map(|wide| wide.map(Wide::narrow).transpose())
        .collect::<Result<_, _>>()
        .map_err(refused)?;
    let narrow: Vec<Option<&Value>> = narrow.iter().map(Option::as_ref).collect();
    if let Some(outputs) = run_wide(node, inputs, &narrow) {
        return Ok(outputs);
    }
    let outputs = run_reference(node, &narrow)?;
    outputs.into_iter().map(Wide::of).collect::<Result<_, _>>().map_err(refused)
}

/// The outputs computed in f64; `None` where the operator does not do so.
fn run_wide(node: &Node, inputs: &[Option<&Wide>], narrow: &[Option<&Value>]) -> Option<Vec<Wide>> {
    let tensors = |wide: &&Wide| wide.declared.is_some();
    if node.op.control().is_some() || !inputs.iter().flatten().all(tensors) {
        return None;
    }
    let declared: Vec<DType> = Inputs(narrow)
        .with_facts(|facts: Facts<'_>| node.op.infer(facts))
        .ok()?
        .iter()
        .map(|fact| fact.as_tensor().map(|tensor| tensor.dtype))
        .collect::<Option<_>>()?;
    let wide: Vec<Option<&Value>> = inputs.iter().map(|wide| wide.map(|wide| &wide.value)).collect();
    let outputs = run_reference(node, &wide).ok()?;
    let wide = outputs.into_iter().zip(declared).map(|(value, declared)| Wide::declared_as(value, declared));
    wide.collect()
}

impl Wide {
    /// A value of the model.
    fn of(value: Value) -> Result<Wide, OpError> {
        let Value::Tensor(tensor) = &value else { return Ok(Wide { value, declared: None }) };
        let declared = tensor.dtype();
        let value = if is_float(declared) { convert(tensor, DType::F64)?.into() } else { value };
        Ok(Wide { value, declared: Some(declared) })
    }

    /// What a node gave in f64 where the model would have a value of type `declared`.
    fn declared_as(value: Value, declared: DType) -> Option<Wide> {
        let dtype = value.as_tensor()?.dtype();
        if is_float(declared) && is_float(dtype) {
            let value = convert(value.as_tensor()?, DType::F64).ok()?.into();
            return Some(Wide { value, declared: Some(declared) });
        }
        (dtype == declared).then_some(Wide { value, declared: Some(declared) })
    }

    /// The value in the model's own type.
    fn narrow(&self) -> Result<Value, OpError> {
        match (&self.value, self.declared) {
            (Value::Tensor(tensor), Some(declared)) => Ok(convert(tensor, declared)?.into()),
            (value, _) => Ok(value.clone()),
        }
    }
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
}

fn convert(tensor: &Tensor, dtype: DType) -> Result<Tensor, OpError> {
    if tensor.dtype() == dtype {
        return Ok(tensor.clone());
    }
    Ok(Tensor::from_f64(dtype, tensor.shape().clone(), &tensor.to_f64()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use inferrum_graph::{Fact, Graph};
    use inferrum_ops::softmax::Softmax;

    #[test]
    fn floats_are_computed_in_f64() {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F32, [3]));
        let y = graph
            .add_node("y", Arc::new(Softmax { axis: 0, flatten: false, log: false }), vec![Some(x)])
            .unwrap();
        graph.outputs = vec![y];
        let outputs = interpret_f64(&graph, vec![Tensor::vector(vec![0.0f32, 1.0, 2.0]).into()]).unwrap();
        let got = outputs[0].as_tensor().unwrap().as_slice::<f64>().unwrap();
        let sum: f64 = [0.0f64, 1.0, 2.0].iter().map(|x| x.exp()).sum();
        for (i, got) in got.iter().enumerate() {
            assert!((got - (i as f64).exp() / sum).abs() < 1e-15, "{got}");
        }
    }
}
