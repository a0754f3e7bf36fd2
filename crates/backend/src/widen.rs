//! Computes graphs of float16 and bfloat16 in float32, for devices whose kernels are of that type.
//!
//! A node whose operator takes float32 in place of the narrow type, and then gives it, computes in float32 from float32
//! values: what lies between such nodes is not rounded, as in ONNX Runtime. Where a narrow value is really wanted (a graph
//! output, an explicit `Cast`, an operator that depends on the type) it is rounded there.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Graph, Node, NodeError, ValueId};
use inferrum_ops::cast::{Cast, Conversion};
use inferrum_tensor::{DType, Tensor};

/// Rewrites a graph and its bodies.
///
/// # Errors
/// An operator refuses its inputs; they were accepted before, so this is a bug here.
pub fn widen(graph: Graph) -> Result<Graph, NodeError> {
    widen_unless(graph, &|_, _| false)
}

/// Whether a device computes a node of a graph as it is.
type Keeps<'a> = &'a dyn Fn(&Graph, &Node) -> bool;

/// As [`widen`], but for the nodes that `keeps` says the device computes in the narrow type.
///
/// # Errors
/// As [`widen`].
pub fn widen_unless(mut graph: Graph, keeps: Keeps<'_>) -> Result<Graph, NodeError> {
    let nodes = std::mem::take(graph.nodes_mut());
    let made = Vec::with_capacity(nodes.len());
    let mut pass = Pass { graph, keeps, made, wide: HashMap::new(), absent: HashMap::new() };
    for node in nodes {
        pass.node(node)?;
    }
    for id in pass.graph.outputs.clone() {
        pass.narrow(id)?;
    }
    let Pass { mut graph, made, .. } = pass;
    *graph.nodes_mut() = made;
    Ok(graph)
}

struct Pass<'a> {
    /// The graph, without its nodes.
    graph: Graph,
    keeps: Keeps<'a>,
    made: Vec<Node>,
    /// The float32 form of values.
    wide: HashMap<ValueId, ValueId>,
    /// Values that exist only as float32 so far, with their own type.
    absent: HashMap<ValueId, DType>,
}

impl Pass<'_> {
    fn node(&mut self, mut node: Node) -> Result<(), NodeError> {
        if let Some(control) = node.op.control() {
            let bodies = control
                .bodies()
                .into_iter()
                .map(|body| widen_unless(Graph::clone(body), self.keeps).map(Arc::new));
            node.op = control.with_bodies(bodies.collect::<Result<_, _>>()?);
            return self.keep(node);
        }
        let narrow = |id: &ValueId| self.narrow_type(*id).is_some();
        let touches = node.inputs.iter().chain(&node.outputs).flatten().any(narrow);
        let widens = touches && !(self.keeps)(&self.graph, &node) && self.takes_wide(&node);
        if widens { self.widen(node) } else { self.keep(node) }
    }

    /// The node as it is.
    fn keep(&mut self, node: Node) -> Result<(), NodeError> {
        for id in node.inputs.iter().flatten() {
            self.narrow(*id)?;
        }
        self.made.push(node);
        Ok(())
    }

    /// The node on float32.
    fn widen(&mut self, mut node: Node) -> Result<(), NodeError> {
        for index in 0..node.inputs.len() {
            if let Some(id) = node.inputs[index].filter(|id| self.narrow_type(*id).is_some()) {
                node.inputs[index] = Some(self.wide(id)?);
            }
        }
        let facts = self.graph.infer_node(&node)?;
        for (output, fact) in node.outputs.iter_mut().zip(facts) {
            let Some(id) = *output else { continue };
            let Some(dtype) = self.narrow_type(id) else { continue };
            let wide = self.graph.add_value(format!("{}.float32", self.graph.value(id).name), fact);
            self.wide.insert(id, wide);
            self.absent.insert(id, dtype);
            *output = Some(wide);
        }
        self.made.push(node);
        Ok(())
    }

    /// Whether the operator takes float32 for every narrow input, and then gives float32 for every narrow output, and
    /// nothing else changes. A `Cast` to a narrow type is asked for by the model, so it rounds.
    fn takes_wide(&self, node: &Node) -> bool {
        let cast = (&*node.op as &dyn Any).downcast_ref::<Cast>();
        let rounds = cast.is_some_and(|cast| matches!(cast.to, DType::F16 | DType::BF16));
        if rounds || node.outputs.iter().all(Option::is_none) {
            return false;
        }
        let widened: Vec<Option<Fact>> =
            node.inputs.iter().map(|id| id.map(|id| self.widened_fact(id))).collect();
        let Ok(inferred) = node.op.infer(Facts(&widened.iter().map(Option::as_ref).collect::<Vec<_>>()))
        else {
            return false;
        };
        node.outputs.iter().zip(&inferred).all(|(output, fact)| {
            let Some(id) = output else { return true };
            let dtype = fact.as_tensor().map(|tensor| tensor.dtype);
            let own = self.graph.fact(*id).as_tensor().map(|tensor| tensor.dtype);
            dtype == if self.narrow_type(*id).is_some() { Some(DType::F32) } else { own }
        })
    }

    /// What is known of a value, with float32 in place of a narrow type.
    fn widened_fact(&self, id: ValueId) -> Fact {
        let fact = self.graph.fact(id);
        match (fact.as_tensor(), self.narrow_type(id)) {
            (Some(tensor), Some(_)) => Fact::tensor(DType::F32, tensor.shape.clone()),
            _ => fact.clone(),
        }
    }

    fn narrow_type(&self, id: ValueId) -> Option<DType> {
        let dtype = self.graph.fact(id).as_tensor()?.dtype;
        matches!(dtype, DType::F16 | DType::BF16).then_some(dtype)
    }

    /// The float32 form of a narrow value, made if it is not there.
    fn wide(&mut self, id: ValueId) -> Result<ValueId, NodeError> {
        if let Some(&wide) = self.wide.get(&id) {
            return Ok(wide);
        }
        let name = format!("{}.float32", self.graph.value(id).name);
        let wide = match self.graph.constant(id).and_then(widened) {
            Some(constant) => self.graph.add_constant(name, constant),
            None => {
                let fact = self.widened_fact(id);
                let wide = self.graph.add_value(name, fact);
                self.cast(id, wide, DType::F32);
                wide
            }
        };
        self.wide.insert(id, wide);
        Ok(wide)
    }

    /// Makes a value exist in its own type.
    fn narrow(&mut self, id: ValueId) -> Result<(), NodeError> {
        if let Some(dtype) = self.absent.remove(&id)
            && let Some(&wide) = self.wide.get(&id)
        {
            self.cast(wide, id, dtype);
        }
        Ok(())
    }

    fn cast(&mut self, from: ValueId, to: ValueId, dtype: DType) {
        let name = format!("{}.cast", self.graph.value(to).name);
        let op = Arc::new(Cast { to: dtype, conversion: Conversion::default() });
        self.made.push(Node { name, op, inputs: vec![Some(from)], outputs: vec![Some(to)] });
    }
}

fn widened(constant: &Tensor) -> Option<Tensor> {
    Tensor::from_f64(DType::F32, constant.shape().clone(), &constant.to_f64().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_graph::interpret;
    use inferrum_ops::unary::{Unary, UnaryKind};
    use inferrum_tensor::Value;

    /// exp(-x) of a float16 input, then an explicit rounding to float16, and a square root.
    fn model() -> Graph {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F16, [3, 5]));
        let unary = |kind| Arc::new(Unary { kind });
        let negative = graph.add_node("neg", unary(UnaryKind::Neg), vec![Some(x)]).unwrap();
        let power = graph.add_node("exp", unary(UnaryKind::Exp), vec![Some(negative)]).unwrap();
        let cast = Arc::new(Cast { to: DType::F16, conversion: Conversion::default() });
        let rounded = graph.add_node("cast", cast, vec![Some(power)]).unwrap();
        let root = graph.add_node("sqrt", unary(UnaryKind::Sqrt), vec![Some(rounded)]).unwrap();
        graph.outputs = vec![root];
        graph
    }

    #[test]
    fn computes_in_float32_and_gives_float16() {
        let rewritten = widen(model()).unwrap();
        let exp = rewritten.nodes().iter().find(|node| node.name == "exp").unwrap();
        let result = rewritten.fact(exp.outputs[0].unwrap()).as_tensor().unwrap();
        assert_eq!(result.dtype, DType::F32, "{rewritten}");
        let numbers: Vec<f64> = (0..15).map(|i| f64::from(i * 7 % 15) * 0.37 - 2.6).collect();
        let x = Tensor::from_f64(DType::F16, [3, 5], &numbers).unwrap();
        let want = interpret(&model(), vec![Value::Tensor(x.clone())]).unwrap();
        let got = interpret(&rewritten, vec![Value::Tensor(x)]).unwrap();
        let numbers = |values: &[Value]| values[0].as_tensor().unwrap().to_f64().unwrap();
        for (got, want) in numbers(&got).into_iter().zip(numbers(&want)) {
            assert!((got - want).abs() <= 1e-4 + 2e-3 * want.abs(), "{got} for {want}");
        }
    }
}
