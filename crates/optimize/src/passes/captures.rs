//! What bodies of control-flow nodes know of what they capture: constants become constants of the body, of other values
//! type and extents are told.

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Graph, NodeId, Operator, ShapeFact, SymDim};
use inferrum_ops::if_::If;
use inferrum_ops::loop_::Loop;
use inferrum_ops::scan::Scan;

/// Tells the bodies of a node, if it has any and captures something; false if nothing came of it.
pub(crate) fn tell(graph: &mut Graph, id: NodeId) -> bool {
    let node = &graph.nodes()[id.0];
    let (Some(control), Some(captures)) = (node.op.control(), captures(node.op.as_ref())) else {
        return false;
    };
    let Some(own) = node.inputs.len().checked_sub(captures) else { return false };
    let mut bodies: Vec<Graph> = control.bodies().into_iter().map(|body| Graph::clone(body)).collect();
    let mut inputs = node.inputs.clone();
    // From the last one on, so that the places before stay.
    for place in (0..captures).rev() {
        let Some(outer) = inputs[own + place] else { return false };
        let fact = graph.fact(outer).clone();
        let constant = fact.value().is_some() && !graph.inputs.contains(&outer);
        for body in &mut bodies {
            let Some(at) = (body.inputs.len() + place).checked_sub(inputs.len() - own) else { return false };
            let inner = body.inputs[at];
            if constant && !body.outputs.contains(&inner) {
                body.value_mut(inner).fact = fact.clone();
            } else if let Some(merged) = numbers(&fact).merge(body.fact(inner)) {
                body.value_mut(inner).fact = merged;
            }
        }
        let last = inputs.len() - own - place;
        let everywhere = bodies.iter().all(|body| {
            let at = body.inputs.len() - last;
            body.constant(body.inputs[at]).is_some()
        });
        if constant && everywhere {
            for body in &mut bodies {
                let at = body.inputs.len() - last;
                body.inputs.remove(at);
            }
            inputs.remove(own + place);
        }
    }
    for body in &mut bodies {
        if body.infer().is_err() {
            // The file declares what cannot be; the body stays as it was.
            return false;
        }
    }
    let left = inputs.len() - own;
    let bodies = bodies.into_iter().map(Arc::new).collect();
    let Some(op) = rebuilt(node.op.as_ref(), left, bodies) else { return false };
    let node = &mut graph.nodes_mut()[id.0];
    node.op = op;
    node.inputs = inputs;
    true
}

/// How many of the inputs, at the end, are captured.
fn captures(op: &dyn Operator) -> Option<usize> {
    let any = op as &dyn Any;
    let of_if = any.downcast_ref::<If>().map(|op| op.captures);
    let of_loop = any.downcast_ref::<Loop>().map(|op| op.captures);
    of_if
        .or(of_loop)
        .or_else(|| any.downcast_ref::<Scan>().map(|op| op.captures))
        .filter(|&captures| captures > 0)
}

/// The operator with other bodies, which capture `captures` values.
fn rebuilt(op: &dyn Operator, captures: usize, bodies: Vec<Arc<Graph>>) -> Option<Arc<dyn Operator>> {
    let any = op as &dyn Any;
    let mut bodies = bodies.into_iter();
    let first = bodies.next()?;
    if any.is::<If>() {
        return Some(Arc::new(If { then_branch: first, else_branch: bodies.next()?, captures }));
    }
    if let Some(op) = any.downcast_ref::<Loop>() {
        return Some(Arc::new(Loop { body: first, carried: op.carried, captures }));
    }
    let scan = any.downcast_ref::<Scan>()?;
    Some(Arc::new(Scan { body: first, captures, ..scan.clone() }))
}

/// What of a fact holds in another graph: the type, and extents that are numbers. Names of extents are those of one graph.
fn numbers(fact: &Fact) -> Fact {
    let Some(tensor) = fact.as_tensor() else { return Fact::Unknown };
    let shape = match tensor.shape.dims() {
        None => ShapeFact::unknown(),
        Some(dims) => dims.iter().map(|dim| dim.known().map_or(SymDim::Unknown, SymDim::Known)).collect(),
    };
    Fact::tensor(tensor.dtype, shape)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use inferrum_graph::{Fact, Graph};
    use inferrum_ops::if_::If;
    use inferrum_ops::loop_::Loop;
    use inferrum_tensor::{DType, Tensor};

    use super::super::super::fusions::testing::{Builder, finished};
    use crate::index::operator;

    /// `x w`, and of that the square root or the absolute value.
    fn branch(op_type: &str) -> Arc<Graph> {
        let mut body = Builder(Graph::new(op_type));
        let x = body.0.add_input("x", Fact::of_dtype(DType::F32));
        let w = body.0.add_input("w", Fact::of_dtype(DType::F32));
        let y = body.op("MatMul", &[], &[x, w]);
        let y = body.op(op_type, &[], &[y]);
        body.0.outputs = vec![y];
        Arc::new(body.0)
    }

    fn model(weights_are_constant: bool) -> (Builder, inferrum_graph::ValueId) {
        let mut b = Builder::new();
        let x = b.input(&[2, 3]);
        let condition = b.input_of(DType::Bool, &[1]);
        let w = if weights_are_constant { b.constant(&[3, 4], 1) } else { b.input(&[3, 4]) };
        let op = If { then_branch: branch("Sqrt"), else_branch: branch("Abs"), captures: 2 };
        let inputs = vec![Some(condition), Some(x), Some(w)];
        let y = b.0.add_node("if", Arc::new(op), inputs).unwrap();
        (b, y)
    }

    #[test]
    fn constants_move_into_the_body_and_facts_are_told() {
        for weights_are_constant in [true, false] {
            let (mut b, y) = model(weights_are_constant);
            b.0.outputs = vec![y];
            let (graph, _) = crate::optimize(b.0).unwrap();
            let node = &graph.nodes()[0];
            let op = operator::<If>(node).unwrap();
            let captures = if weights_are_constant { 1 } else { 2 };
            assert_eq!((op.captures, node.inputs.len()), (captures, 1 + captures));
            for body in [&op.then_branch, &op.else_branch] {
                assert_eq!(body.inputs.len(), captures);
                assert_eq!(body.nodes()[0].op.key().op_type, "Linear", "{body}");
                let shape = body.fact(body.outputs[0]).concrete_shape().unwrap();
                assert_eq!(shape.dims(), [2, 4]);
            }
        }
        let (b, y) = model(true);
        assert_eq!(finished(b, &[y]), ["If"]);
    }

    #[test]
    fn what_a_loop_carries_is_not_captured() {
        let mut body = Builder(Graph::new("body"));
        body.0.add_input("i", Fact::of_dtype(DType::I64));
        let condition = body.0.add_input("condition", Fact::of_dtype(DType::Bool));
        let x = body.0.add_input("x", Fact::of_dtype(DType::F32));
        let w = body.0.add_input("w", Fact::of_dtype(DType::F32));
        let y = body.op("Mul", &[], &[x, w]);
        body.0.outputs = vec![condition, y];
        let mut b = Builder::new();
        let trips = b.0.add_constant("trips", Tensor::scalar(3i64));
        let x = b.constant(&[3], 1);
        let w = b.constant(&[3], 2);
        let op = Loop { body: Arc::new(body.0), carried: 1, captures: 1 };
        let y = b.0.add_node("loop", Arc::new(op), vec![Some(trips), None, Some(x), Some(w)]).unwrap();
        b.0.outputs = vec![y];
        let (graph, _) = crate::optimize(b.0.clone()).unwrap();
        let node = &graph.nodes()[0];
        assert_eq!((operator::<Loop>(node).unwrap().captures, node.inputs.len()), (0, 3));
        assert_eq!(finished(b, &[y]), ["Loop"]);
    }

    #[test]
    fn a_captured_constant_that_is_given_back_stays_captured() {
        let mut body = Builder(Graph::new("body"));
        let w = body.0.add_input("w", Fact::of_dtype(DType::F32));
        body.0.outputs = vec![w];
        let body = Arc::new(body.0);
        let mut b = Builder::new();
        let condition = b.input_of(DType::Bool, &[1]);
        let w = b.constant(&[3], 2);
        let op = If { then_branch: Arc::clone(&body), else_branch: body, captures: 1 };
        let y = b.0.add_node("if", Arc::new(op), vec![Some(condition), Some(w)]).unwrap();
        assert_eq!(finished(b, &[y]), ["If"]);
    }
}
