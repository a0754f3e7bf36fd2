//! `Loop` (<https://onnx.ai/onnx/operators/onnx__Loop.html>). The opset versions differ in the types they allow.
//!
//! As in ONNX Runtime the condition that the body gives is obeyed even where the node is given none.

use std::sync::Arc;

use inferrum_graph::{
    CallBody, Control, Fact, Facts, Graph, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim,
    ValueId, interpret,
};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::body::{
    captured_facts, captured_values, check_count, fixed_point, infer_body, is_pure, shape_of_nothing,
    without_value,
};
use crate::pieces::stack;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Loop", OpEntry::VARIADIC, Loop::parse)];

/// Runs a body again and again. Inputs: the greatest number of iterations (one int64 element, may be left out),
/// whether to begin (one `bool` element, may be left out), `N` carried values of any kind, what the body captures.
/// Outputs: the `N` carried values after the last iteration, then `K` tensors of shape `[iterations, ..]`.
///
/// The body takes iteration number, condition, carried and captured values; it gives condition, carried values and
/// the `K` tensors' items.
#[derive(Debug, Clone)]
pub struct Loop {
    /// What is run.
    pub body: Arc<Graph>,
    /// `N`, how many values are carried from one iteration to the next.
    pub carried: usize,
    /// How many of the node's inputs, at their end, are the body's last inputs.
    pub captures: usize,
}

/// The node's own inputs that come before the carried values.
pub const HEAD: usize = 2;

/// What a loop begins with.
pub struct Start<V> {
    /// The greatest number of iterations.
    pub most: Option<i64>,
    /// Whether to begin.
    pub goes_on: bool,
    /// The values that are carried from one iteration to the next.
    pub carried: Vec<V>,
    /// What the body captures.
    pub captured: Vec<V>,
}

/// Runs the body of a loop, on values that need not be in the host's memory.
pub trait Bodies {
    /// A value wherever it is.
    type Value: Clone;
    /// Why a loop fails.
    type Error: From<OpError>;

    /// A value of the host's.
    fn host(&mut self, value: Value) -> Self::Value;

    /// What is known of a value.
    fn fact(&self, value: &Self::Value) -> Fact;

    /// The body's output `index` in the host's memory.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self, index: usize, value: Self::Value) -> Result<Value, Self::Error>;

    /// The outputs of the body.
    ///
    /// # Errors
    /// The body fails.
    fn call(&mut self, inputs: Vec<Self::Value>) -> Result<Vec<Self::Value>, Self::Error>;
}

/// All values are in the host's memory.
struct OnHost<'a, 'b>(&'a mut CallBody<'b>);

impl Bodies for OnHost<'_, '_> {
    type Value = Value;
    type Error = OpError;

    fn host(&mut self, value: Value) -> Value {
        value
    }

    fn fact(&self, value: &Value) -> Fact {
        Fact::of(value)
    }

    fn read(&mut self, _index: usize, value: Value) -> Result<Value, OpError> {
        Ok(value)
    }

    fn call(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>, OpError> {
        (self.0)(0, inputs)
    }
}

impl Loop {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let body = def.graph("body")?.ok_or_else(|| OpError::attribute("body", "a graph", "nothing"))?;
        Ok(Arc::new(Loop::new(body, def.captures)?))
    }

    /// A loop over `body`, the last `captures` inputs of which are captured.
    ///
    /// # Errors
    /// The body does not take iteration number and condition, or gives fewer values than it carries.
    pub fn new(body: Arc<Graph>, captures: usize) -> Result<Loop, OpError> {
        let carried = body.inputs.len().checked_sub(HEAD + captures);
        match carried {
            Some(carried) if body.outputs.len() > carried => Ok(Loop { body, carried, captures }),
            _ => Err(OpError::attribute(
                "body",
                "a graph that takes iteration, condition and carried values, and gives condition, carried values and items",
                format!(
                    "{} inputs ({captures} captured) and {} outputs",
                    body.inputs.len(),
                    body.outputs.len()
                ),
            )),
        }
    }

    /// Whether the body's condition stays true once it is: it gives the one it takes, or a constant.
    fn runs_on(&self) -> bool {
        let body = &self.body;
        let mut id: ValueId = body.outputs[0];
        for node in body.nodes().iter().rev() {
            if node.op.key() == OpKey::onnx("Identity") && node.outputs.first() == Some(&Some(id)) {
                match node.inputs.first() {
                    Some(Some(input)) => id = *input,
                    _ => return false,
                }
            }
        }
        id == body.inputs[1] || body.constant(id).is_some_and(|tensor| tensor.to_scalar() == Ok(true))
    }

    /// How often the body runs, if that is known.
    fn iterations(&self, inputs: Facts<'_>, own: usize) -> Result<Option<usize>, OpError> {
        let known = |index: usize| if index < own { inputs.value(index) } else { None };
        let given = |index: usize| index < own && inputs.has(index);
        if let Some(begin) = known(1)
            && !begin.to_scalar::<bool>()?
        {
            return Ok(Some(0));
        }
        let Some(most) = known(0) else { return Ok(None) };
        let most = usize::try_from(most.to_scalar::<i64>()?).unwrap_or(0);
        let begins = !given(1) || known(1).is_some();
        Ok((most == 0 || (begins && self.runs_on())).then_some(most))
    }

    /// The body's first two inputs have the rank that the body declares: 0 or 1.
    fn head_rank(&self, index: usize) -> usize {
        let declared = self.body.inputs.get(index).and_then(|&id| self.body.fact(id).as_tensor());
        declared.and_then(|tensor| tensor.shape.rank()).unwrap_or(0).min(1)
    }

    fn head_fact(&self, index: usize, dtype: DType) -> Fact {
        Fact::tensor(dtype, ShapeFact::from(vec![SymDim::Known(1); self.head_rank(index)]))
    }

    fn head_value<T: inferrum_tensor::Element>(&self, index: usize, value: T) -> Value {
        if self.head_rank(index) == 0 { Tensor::scalar(value) } else { Tensor::vector(vec![value]) }.into()
    }

    /// Facts of the carried values before every iteration, and of what any iteration gives without the condition.
    fn body_facts(&self, initial: &[Fact], captured: &[Fact]) -> Result<(Vec<Fact>, Vec<Fact>), OpError> {
        fixed_point(initial, |carried| {
            let head = [self.head_fact(0, DType::I64), self.head_fact(1, DType::Bool)];
            let inputs: Vec<Fact> = head.iter().chain(carried).chain(captured).cloned().collect();
            let mut outputs = infer_body(&self.body, &inputs)?;
            outputs.remove(0);
            Ok(outputs)
        })
    }
}

impl Operator for Loop {
    fn key(&self) -> OpKey {
        OpKey::onnx("Loop")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (own, captured) = captured_facts(inputs, self.captures)?;
        for (index, dtype) in [(0, DType::I64), (1, DType::Bool)] {
            if index < own
                && let Some(fact) = inputs.optional(index)?
            {
                if fact.dtype != dtype {
                    return Err(OpError::dtype(index, dtype.name(), fact.dtype));
                }
                if fact.shape.concrete().is_some_and(|shape| shape.elements() != 1) {
                    return Err(OpError::shape(index, "of one element", &fact.shape));
                }
            }
        }
        let initial: Vec<Fact> =
            (HEAD..own).map(|index| inputs.require(index).cloned()).collect::<Result<_, _>>()?;
        check_count(&self.body, HEAD + initial.len() + captured.len())?;
        let iterations = self.iterations(inputs, own)?;
        let (carried, results) = self.body_facts(&initial, &captured)?;
        let (last, items) = results.split_at_checked(self.carried).unwrap_or_default();
        let finals = match iterations {
            Some(0) => initial,
            Some(_) => last.iter().map(without_value).collect(),
            None => carried,
        };
        let length = iterations.map_or(SymDim::Unknown, SymDim::Known);
        let stacked = items.iter().map(|item| match item {
            Fact::Tensor(item) => Fact::tensor(
                item.dtype,
                match item.shape.dims() {
                    None => ShapeFact::unknown(),
                    Some(dims) => std::iter::once(length.clone()).chain(dims.iter().cloned()).collect(),
                },
            ),
            _ => Fact::Unknown,
        });
        Ok(finals.into_iter().chain(stacked).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        self.run(inputs, &mut |_, values| Ok(interpret(&self.body, values)?))
    }

    fn value_inputs(&self) -> &[usize] {
        &[0, 1]
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

impl Control for Loop {
    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![&self.body]
    }

    fn with_bodies(&self, bodies: Vec<Arc<Graph>>) -> Arc<dyn Operator> {
        let body = bodies.into_iter().next().unwrap_or_else(|| self.body.clone());
        Arc::new(Loop { body, carried: self.carried, captures: self.captures })
    }

    fn body_inputs(&self, inputs: Facts<'_>) -> Result<Vec<Vec<Fact>>, OpError> {
        let (own, captured) = captured_facts(inputs, self.captures)?;
        let mut facts = vec![self.head_fact(0, DType::I64), self.head_fact(1, DType::Bool)];
        for index in HEAD..own {
            facts.push(without_value(inputs.require(index)?));
        }
        facts.extend(captured.iter().map(without_value));
        Ok(vec![facts])
    }

    fn run(&self, inputs: Inputs<'_>, call: &mut CallBody<'_>) -> Result<Vec<Value>, OpError> {
        let (own, captured) = captured_values(inputs, self.captures)?;
        let given = |index: usize| if index < own { inputs.optional(index) } else { Ok(None) };
        let most = given(0)?.map(Tensor::to_scalar::<i64>).transpose()?;
        let goes_on = given(1)?.map(Tensor::to_scalar::<bool>).transpose()?.unwrap_or(true);
        let carried: Vec<Value> =
            (HEAD..own).map(|index| inputs.require(index).cloned()).collect::<Result<_, _>>()?;
        self.iterate(Start { most, goes_on, carried, captured }, &mut OnHost(call))
    }
}

impl Loop {
    /// The outputs of the loop. Conditions and the items that are stacked are read to the host; carried and captured values are
    /// handed on as they are.
    ///
    /// # Errors
    /// The body fails, or gives what a loop does not take.
    pub fn iterate<B: Bodies>(
        &self,
        start: Start<B::Value>,
        bodies: &mut B,
    ) -> Result<Vec<B::Value>, B::Error> {
        let Start { most, mut goes_on, mut carried, captured } = start;
        check_count(&self.body, HEAD + carried.len() + captured.len())?;
        let mut items: Vec<Vec<Tensor>> = vec![Vec::new(); self.body.outputs.len() - 1 - self.carried];
        let mut iteration = 0i64;
        while goes_on && most.is_none_or(|most| iteration < most) {
            let head = [self.head_value(0, iteration), self.head_value(1, goes_on)];
            let mut values: Vec<B::Value> = head.into_iter().map(|value| bodies.host(value)).collect();
            values.append(&mut carried);
            values.extend_from_slice(&captured);
            let mut results = bodies.call(values)?.into_iter();
            let next = results.next().map(|value| bodies.read(0, value)).transpose()?;
            goes_on = condition(next)?;
            carried = results.by_ref().take(self.carried).collect();
            for (index, (list, item)) in items.iter_mut().zip(results).enumerate() {
                list.push(tensor_item(bodies.read(1 + self.carried + index, item)?)?);
            }
            iteration += 1;
        }
        let nothing = if iteration == 0 && !items.is_empty() {
            let facts =
                |values: &[B::Value]| values.iter().map(|value| bodies.fact(value)).collect::<Vec<_>>();
            self.no_items(&facts(&carried), &facts(&captured))?
        } else {
            Vec::new()
        };
        for (index, list) in items.iter().enumerate() {
            let stacked = match nothing.get(index) {
                Some(empty) => empty.clone(),
                None => stack(&list.iter().collect::<Vec<_>>(), 0)?,
            };
            carried.push(bodies.host(stacked.into()));
        }
        Ok(carried)
    }

    /// The stacked items of a loop that never ran.
    fn no_items(&self, carried: &[Fact], captured: &[Fact]) -> Result<Vec<Tensor>, OpError> {
        let (_, results) = self.body_facts(carried, captured)?;
        let empty = results.iter().skip(self.carried).map(|item| {
            let (dtype, shape) = shape_of_nothing(item)?;
            let dims: Vec<usize> = std::iter::once(0).chain(shape.iter().copied()).collect();
            Ok(Tensor::zeros(dtype, dims)?)
        });
        empty.collect()
    }
}

fn condition(value: Option<Value>) -> Result<bool, OpError> {
    let tensor = value.and_then(Value::into_tensor);
    let tensor =
        tensor.ok_or_else(|| OpError::Invalid("the body's first output must be its condition".into()))?;
    Ok(tensor.to_scalar()?)
}

/// An item of a scan output.
///
/// # Errors
/// It is no tensor.
pub(crate) fn tensor_item(item: Value) -> Result<Tensor, OpError> {
    let got = item.describe();
    item.into_tensor()
        .ok_or_else(|| OpError::Invalid(format!("items to be stacked must be tensors, got a {got}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parse_at;
    use inferrum_graph::Node;

    /// A body that carries `x` (which a reshape to `shape` gives anew) and gives the old `x` as an item; its
    /// condition is the captured one, or the one it takes.
    fn body(shape: &[i64], captured_condition: bool) -> Arc<Graph> {
        let mut body = Graph::new("body");
        body.add_input("i", Fact::tensor(DType::I64, []));
        let condition = body.add_input("condition", Fact::tensor(DType::Bool, []));
        let x = body.add_input("x", Fact::of_dtype(DType::F32));
        let captured = body.add_input("captured", Fact::tensor(DType::Bool, []));
        let to = body.add_constant("to", Tensor::vector(shape.to_vec()));
        let y = body.add_node("y", parse_at(14, "Reshape", &[]), vec![Some(x), Some(to)]).unwrap();
        body.outputs = vec![if captured_condition { captured } else { condition }, y, x];
        Arc::new(body)
    }

    fn run(op: &Loop, most: Option<i64>, begin: Option<bool>, captured: bool) -> Vec<Tensor> {
        let values = [
            most.map(|m| Value::Tensor(Tensor::scalar(m))),
            begin.map(|b| Value::Tensor(Tensor::vector(vec![b]))),
            Some(Tensor::from_vec([2, 1], vec![1f32, 2.0]).unwrap().into()),
            Some(Tensor::scalar(captured).into()),
        ];
        let refs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
        let outputs = op.reference(Inputs(&refs)).unwrap();
        let facts = Inputs(&refs).with_facts(|facts| op.infer(facts)).unwrap();
        assert!(
            facts.iter().zip(&outputs).all(|(fact, value)| fact.merge(&Fact::of(value)).is_some()),
            "{facts:?}"
        );
        outputs.into_iter().filter_map(Value::into_tensor).collect()
    }

    #[test]
    fn trips_and_conditions_end_a_loop() {
        let op = Loop::new(body(&[2, 1], true), 1).unwrap();
        let count = |most, begin, captured| run(&op, most, begin, captured)[1].shape()[0];
        assert_eq!(count(Some(3), None, true), 3);
        assert_eq!(count(Some(3), Some(false), true), 0);
        assert_eq!(count(Some(3), Some(true), false), 1);
        assert_eq!(count(None, Some(true), false), 1);
        assert_eq!(count(None, None, false), 1);
        assert_eq!(count(Some(-5), None, true), 0);
        assert_eq!(run(&op, Some(2), None, true)[1].as_slice::<f32>().unwrap(), [1.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    fn a_loop_that_never_runs_gives_empty_items() {
        let outputs = run(&Loop::new(body(&[2, 1], false), 1).unwrap(), Some(0), None, true);
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(outputs[1].shape().dims(), [0, 2, 1]);
    }

    #[test]
    fn shapes_that_change_are_unknown() {
        let infer = |shape: &[i64], most: Fact| {
            let op = Loop::new(body(shape, false), 1).unwrap();
            let x = Fact::tensor(DType::F32, [2, 1]);
            op.infer(Facts(&[Some(&most), None, Some(&x), Some(&Fact::tensor(DType::Bool, []))])).unwrap()
        };
        let trips = || Fact::constant(Tensor::scalar(3i64));
        let same = infer(&[2, 1], trips());
        assert_eq!(same, [Fact::tensor(DType::F32, [2, 1]), Fact::tensor(DType::F32, [3, 2, 1])]);
        let length = infer(&[2, 1], Fact::tensor(DType::I64, []));
        assert_eq!(length[1].as_tensor().unwrap().shape.to_string(), "?x2x1");
        let transposed = infer(&[1, 2], trips());
        assert_eq!(transposed[0], Fact::tensor(DType::F32, [1, 2]));
        assert_eq!(transposed[1].as_tensor().unwrap().shape.to_string(), "3x?x?");
        assert_eq!(infer(&[2], trips())[1], Fact::of_dtype(DType::F32));
    }

    #[test]
    fn sequences_can_be_carried() {
        let mut graph = Graph::new("body");
        graph.add_input("i", Fact::Unknown);
        let condition = graph.add_input("condition", Fact::Unknown);
        let list = graph.add_input("list", Fact::Unknown);
        let x = graph.add_input("x", Fact::Unknown);
        let longer = graph.add_value("longer", Fact::Unknown);
        let op = parse_at(11, "SequenceInsert", &[]);
        let (inputs, outputs) = (vec![Some(list), Some(x)], vec![Some(longer)]);
        graph.nodes_mut().push(Node { name: "insert".into(), op, inputs, outputs });
        graph.outputs = vec![condition, longer];
        let op = Loop::new(Arc::new(graph), 1).unwrap();
        let values = [
            Value::Tensor(Tensor::scalar(3i64)),
            Value::Tensor(Tensor::scalar(true)),
            Value::Sequence(Vec::new()),
            Tensor::scalar(1u8).into(),
        ];
        let refs: Vec<Option<&Value>> = values.iter().map(Some).collect();
        let fact = Inputs(&refs).with_facts(|facts| op.infer(facts)).unwrap().remove(0);
        assert_eq!(fact, Fact::Sequence(Box::new(Fact::of_dtype(DType::U8))));
        assert!(
            matches!(&op.reference(Inputs(&refs)).unwrap()[0], Value::Sequence(items) if items.len() == 3)
        );
    }

    #[test]
    fn a_body_of_the_wrong_arity_is_an_error() {
        let mut short = Graph::new("short");
        let only = short.add_input("i", Fact::Unknown);
        short.outputs = vec![only];
        assert!(Loop::new(Arc::new(short), 0).is_err());
        let op = Loop::new(body(&[2], false), 1).unwrap();
        assert!(op.infer(Facts(&[None, None, Some(&Fact::tensor(DType::Bool, []))])).is_err());
    }
}
