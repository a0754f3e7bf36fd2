//! What the rooms' own tests share.

use std::collections::BTreeMap;
use std::sync::Arc;

use inferrum_graph::{Attr, Fact, Facts, Inputs, NodeDef, OpError, Operator};
use inferrum_tensor::{Tensor, Value};

/// An operator of ONNX's own domain, parsed at an opset.
pub(crate) fn parse_at(opset: i64, op_type: &str, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
    parse_in("", opset, op_type, attrs)
}

/// An operator of a domain, parsed at an opset; every attribute must be known.
pub(crate) fn parse_in(domain: &str, opset: i64, op_type: &str, attrs: &[(&str, Attr)]) -> Arc<dyn Operator> {
    let attrs: BTreeMap<String, Attr> =
        attrs.iter().map(|(name, attr)| (name.to_string(), attr.clone())).collect();
    let mut def = NodeDef::new(op_type, opset, attrs);
    def.inputs = vec![true; most_inputs(domain, opset, op_type)];
    let op = crate::parse(domain, &mut def).expect("operator exists").expect("operator parses");
    def.finish().expect("attributes are known");
    op
}

/// An operator of a node with `outputs` outputs, all used; every attribute must be known.
pub(crate) fn parse_node(
    domain: &str,
    opset: i64,
    op_type: &str,
    attrs: &[(&str, Attr)],
    outputs: usize,
) -> Arc<dyn Operator> {
    let attrs: BTreeMap<String, Attr> =
        attrs.iter().map(|(name, attr)| (name.to_string(), attr.clone())).collect();
    let mut def = NodeDef::new(op_type, opset, attrs);
    def.inputs = vec![true; most_inputs(domain, opset, op_type)];
    def.outputs = vec![true; outputs];
    let op = crate::parse(domain, &mut def).expect("operator exists").expect("operator parses");
    def.finish().expect("attributes are known");
    op
}

/// As many inputs as an operator takes at an opset, up to 8.
fn most_inputs(domain: &str, opset: i64, op_type: &str) -> usize {
    crate::find(domain, op_type).map_or(8, |entry| entry.most_inputs(opset).min(8))
}

/// Infers and runs an operator on tensors, and checks that the two agree on types and shapes.
pub(crate) fn run(op: &dyn Operator, inputs: &[Tensor]) -> Vec<Tensor> {
    try_run(op, &inputs.iter().cloned().map(Some).collect::<Vec<_>>()).expect("operator runs")
}

/// As [`run`], with optional inputs and errors given back.
pub(crate) fn try_run(op: &dyn Operator, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let values: Vec<Option<Value>> = inputs.iter().map(|t| t.clone().map(Value::Tensor)).collect();
    let refs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    // Elements are known only where the operator says that its shapes need them.
    let facts: Vec<Option<Fact>> = inputs
        .iter()
        .enumerate()
        .map(|(i, tensor)| {
            tensor.as_ref().map(|tensor| {
                if op.value_inputs().contains(&i) {
                    Fact::constant(tensor.clone())
                } else {
                    Fact::tensor(tensor.dtype(), tensor.shape())
                }
            })
        })
        .collect();
    let inferred = op.infer(Facts(&facts.iter().map(Option::as_ref).collect::<Vec<_>>()))?;
    let outputs = op.reference(Inputs(&refs))?;
    assert_eq!(inferred.len(), outputs.len(), "{op:?} infers as many outputs as it gives");
    for (fact, output) in inferred.iter().zip(&outputs) {
        assert!(
            fact.merge(&Fact::of(output)).is_some(),
            "{op:?} inferred {fact} but gave {}",
            output.describe()
        );
    }
    Ok(outputs.into_iter().filter_map(Value::into_tensor).collect())
}
