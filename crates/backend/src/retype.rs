//! Computes graphs in another type of floats than theirs: float16 and bfloat16 in float32, for devices whose kernels are of that type, or
//! float32 in one of the narrow types, where the user asks for it.
//!
//! A node whose operator takes the other type in place of its own, and then gives it, computes in that type from values of
//! that type: what lies between such nodes is not rounded again, as in ONNX Runtime. Where a value is really wanted in its own type (a graph
//! output, an explicit `Cast`, an operator that depends on the type) it is cast there.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Graph, Node, NodeError, ValueId};
use inferrum_ops::cast::{Cast, Conversion};
use inferrum_tensor::{DType, Tensor};

use crate::BoundNode;
use crate::stand_in::tried_with;

/// Computes a graph of narrow floats, and its bodies, in float32.
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
pub fn widen_unless(graph: Graph, keeps: Keeps<'_>) -> Result<Graph, NodeError> {
    retype(graph, Types { from: &[DType::F16, DType::BF16], into: DType::F32 }, Choice::Keeps(keeps))
}

/// Computes a graph of float32, and its bodies, in a narrow type where `takes` says that the device computes the node in that type. Nodes with
/// constants that the type does not hold, which would overflow or vanish, stay as they are.
///
/// # Errors
/// As [`widen`].
pub fn narrow(graph: Graph, into: DType, takes: &dyn Fn(&BoundNode<'_>) -> bool) -> Result<Graph, NodeError> {
    retype(graph, Types { from: &[DType::F32], into }, Choice::Takes(takes))
}

/// Which nodes stay as they are.
#[derive(Clone, Copy)]
enum Choice<'a> {
    /// Those of which this says so.
    Keeps(Keeps<'a>),
    /// Those of which this, asked of the node in the other type, denies it.
    Takes(&'a dyn Fn(&BoundNode<'_>) -> bool),
}

/// Which types become which other one.
#[derive(Clone, Copy)]
struct Types {
    from: &'static [DType],
    into: DType,
}

fn retype(mut graph: Graph, types: Types, choice: Choice<'_>) -> Result<Graph, NodeError> {
    let nodes = std::mem::take(graph.nodes_mut());
    let made = Vec::with_capacity(nodes.len());
    let mut pass = Pass { graph, types, choice, made, changed: HashMap::new(), absent: HashMap::new() };
    for node in nodes {
        pass.node(node)?;
    }
    for id in pass.graph.outputs.clone() {
        pass.restore(id)?;
    }
    let Pass { mut graph, made, .. } = pass;
    *graph.nodes_mut() = made;
    Ok(graph)
}

struct Pass<'a> {
    /// The graph, without its nodes.
    graph: Graph,
    types: Types,
    choice: Choice<'a>,
    made: Vec<Node>,
    /// The changed form of values.
    changed: HashMap<ValueId, ValueId>,
    /// Values that exist only in their changed form so far, with their own type.
    absent: HashMap<ValueId, DType>,
}

impl Pass<'_> {
    fn node(&mut self, mut node: Node) -> Result<(), NodeError> {
        if let Some(control) = node.op.control() {
            let bodies = control
                .bodies()
                .into_iter()
                .map(|body| retype(Graph::clone(body), self.types, self.choice).map(Arc::new));
            node.op = control.with_bodies(bodies.collect::<Result<_, _>>()?);
            return self.keep(node);
        }
        let own = |id: &ValueId| self.own_type(*id).is_some();
        let touches = node.inputs.iter().chain(&node.outputs).flatten().any(own);
        let changes = touches && self.takes_changed(&node) && !self.stays(&node);
        if changes { self.change(node) } else { self.keep(node) }
    }

    fn stays(&self, node: &Node) -> bool {
        match self.choice {
            Choice::Keeps(keeps) => keeps(&self.graph, node),
            // Where nothing is known of the shapes, the run will tell.
            Choice::Takes(takes) => !tried_with(node, |id| self.tried_fact(id), takes).unwrap_or(true),
        }
    }

    /// As [`Pass::changed_fact`], with the elements of a constant.
    fn tried_fact(&self, id: ValueId) -> Fact {
        let constant = self.own_type(id).and_then(|_| self.graph.constant(id));
        let changed = constant.and_then(|constant| converted(constant, self.types.into));
        changed.map_or_else(|| self.changed_fact(id), Fact::constant)
    }

    /// The node as it is.
    fn keep(&mut self, node: Node) -> Result<(), NodeError> {
        for id in node.inputs.iter().flatten() {
            self.restore(*id)?;
        }
        self.made.push(node);
        Ok(())
    }

    /// The node on the other type.
    fn change(&mut self, mut node: Node) -> Result<(), NodeError> {
        for index in 0..node.inputs.len() {
            if let Some(id) = node.inputs[index].filter(|id| self.own_type(*id).is_some()) {
                node.inputs[index] = Some(self.changed(id)?);
            }
        }
        let facts = self.graph.infer_node(&node)?;
        for (output, fact) in node.outputs.iter_mut().zip(facts) {
            let Some(id) = *output else { continue };
            let Some(dtype) = self.own_type(id) else { continue };
            let changed = self.graph.add_value(self.name(id), fact);
            self.changed.insert(id, changed);
            self.absent.insert(id, dtype);
            *output = Some(changed);
        }
        self.made.push(node);
        Ok(())
    }

    /// Whether the operator takes the other type for every input of the types, and then gives it for every such output, and
    /// nothing else changes. A `Cast` to one of the types is asked for by the model, so it rounds.
    fn takes_changed(&self, node: &Node) -> bool {
        let cast = (&*node.op as &dyn Any).downcast_ref::<Cast>();
        let asked = cast.is_some_and(|cast| self.types.from.contains(&cast.to));
        if asked || node.outputs.iter().all(Option::is_none) {
            return false;
        }
        let constants = node.inputs.iter().flatten().filter(|id| self.own_type(**id).is_some());
        if !constants.filter_map(|id| self.graph.constant(*id)).all(|constant| self.types.hold(constant)) {
            return false;
        }
        let changed: Vec<Option<Fact>> =
            node.inputs.iter().map(|id| id.map(|id| self.changed_fact(id))).collect();
        let Ok(inferred) = node.op.infer(Facts(&changed.iter().map(Option::as_ref).collect::<Vec<_>>()))
        else {
            return false;
        };
        node.outputs.iter().zip(&inferred).all(|(output, fact)| {
            let Some(id) = output else { return true };
            let dtype = fact.as_tensor().map(|tensor| tensor.dtype);
            let own = self.graph.fact(*id).as_tensor().map(|tensor| tensor.dtype);
            dtype == if self.own_type(*id).is_some() { Some(self.types.into) } else { own }
        })
    }

    /// What is known of a value, in the other type if it has one.
    fn changed_fact(&self, id: ValueId) -> Fact {
        let fact = self.graph.fact(id);
        match (fact.as_tensor(), self.own_type(id)) {
            (Some(tensor), Some(_)) => Fact::tensor(self.types.into, tensor.shape.clone()),
            _ => fact.clone(),
        }
    }

    /// The type of a value that is of one of the types.
    fn own_type(&self, id: ValueId) -> Option<DType> {
        let dtype = self.graph.fact(id).as_tensor()?.dtype;
        self.types.from.contains(&dtype).then_some(dtype)
    }

    fn name(&self, id: ValueId) -> String {
        format!("{}.{}", self.graph.value(id).name, self.types.into)
    }

    /// The changed form of a value, made if it is not there.
    fn changed(&mut self, id: ValueId) -> Result<ValueId, NodeError> {
        if let Some(&changed) = self.changed.get(&id) {
            return Ok(changed);
        }
        let name = self.name(id);
        let constant = self.graph.constant(id).and_then(|constant| converted(constant, self.types.into));
        let changed = match constant {
            Some(constant) => self.graph.add_constant(name, constant),
            None => {
                let fact = self.changed_fact(id);
                let changed = self.graph.add_value(name, fact);
                self.cast(id, changed, self.types.into);
                changed
            }
        };
        self.changed.insert(id, changed);
        Ok(changed)
    }

    /// Makes a value exist in its own type.
    fn restore(&mut self, id: ValueId) -> Result<(), NodeError> {
        if let Some(dtype) = self.absent.remove(&id)
            && let Some(&changed) = self.changed.get(&id)
        {
            self.cast(changed, id, dtype);
        }
        Ok(())
    }

    fn cast(&mut self, from: ValueId, to: ValueId, dtype: DType) {
        let name = format!("{}.cast", self.graph.value(to).name);
        let op = Arc::new(Cast { to: dtype, conversion: Conversion::default() });
        self.made.push(Node { name, op, inputs: vec![Some(from)], outputs: vec![Some(to)] });
    }
}

impl Types {
    /// Whether no element of a constant overflows or vanishes in the other type.
    fn hold(self, constant: &Tensor) -> bool {
        let (least, most) = match self.into {
            // Half of the least number above zero; what is rounded to 65536.
            DType::F16 => (2f32.powi(-25), 65520.0),
            _ => return true,
        };
        let held = |x: &f32| *x == 0.0 || !x.is_finite() || (x.abs() > least && x.abs() < most);
        match constant.as_slice::<f32>() {
            // Of many weights some may vanish; of few numbers each is meant.
            Ok(numbers) if numbers.len() > 64 => numbers.iter().all(|x| !x.is_finite() || x.abs() < most),
            Ok(numbers) => numbers.iter().all(held),
            Err(_) => false,
        }
    }
}

fn converted(constant: &Tensor, into: DType) -> Option<Tensor> {
    Tensor::from_f64(into, constant.shape().clone(), &constant.to_f64().ok()?).ok()
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

    /// 1e-7 / (x * 1e-12 + 2) under a cast to integers; float32.
    #[test]
    fn computes_in_float16_what_it_holds() {
        use inferrum_ops::binary::{Binary, BinaryKind};
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::tensor(DType::F32, [3]));
        let tiny = graph.add_constant("tiny", Tensor::scalar(1e-12f32));
        let two = graph.add_constant("two", Tensor::scalar(2f32));
        let binary = |kind| Arc::new(Binary::new(kind));
        let product = graph.add_node("mul", binary(BinaryKind::Mul), vec![Some(x), Some(tiny)]).unwrap();
        let sum = graph.add_node("add", binary(BinaryKind::Add), vec![Some(product), Some(two)]).unwrap();
        let less = graph.add_node("less", binary(BinaryKind::Less), vec![Some(sum), Some(two)]).unwrap();
        graph.outputs = vec![sum, less];
        let narrow = narrow(graph, DType::F16, &|_| true).unwrap();
        let dtype = |id: ValueId| narrow.fact(id).as_tensor().unwrap().dtype;
        let of = |name: &str| narrow.nodes().iter().find(|node| node.name == name).unwrap();
        let result = |name: &str| dtype(of(name).outputs[0].unwrap());
        assert_eq!((result("mul"), result("add"), result("less")), (DType::F32, DType::F16, DType::Bool));
        assert_eq!(dtype(of("less").inputs[0].unwrap()), DType::F16);
        assert_eq!([dtype(narrow.outputs[0]), dtype(narrow.outputs[1])], [DType::F32, DType::Bool]);
        let x = Value::Tensor(Tensor::vector(vec![1f32, 2e4, -3.0]));
        let got = interpret(&narrow, vec![x]).unwrap();
        assert_eq!(got[0].as_tensor().unwrap().as_slice::<f32>().unwrap(), [2.0; 3]);
    }
}
