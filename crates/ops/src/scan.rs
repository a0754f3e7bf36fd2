//! `Scan` (<https://onnx.ai/onnx/operators/onnx__Scan.html>).
//!
//! Opset 8 had a batch axis before the scanned one and an optional first input, the sequences' lengths; since opset
//! 9 any axis may be scanned. The old form is kept as `batched`.

use std::sync::Arc;

use inferrum_graph::{
    CallBody, Control, Fact, Facts, Graph, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim,
    interpret,
};
use inferrum_tensor::{Shape, Tensor, Value};

use crate::OpEntry;
use crate::body::{
    captured_facts, captured_values, fixed_point, infer_body, is_pure, shape_of_nothing, without_value,
};
use crate::loop_::tensor_item;
use crate::pieces::{at, cut, join, stack};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Scan", Scan::parse)];

/// Runs a body for each index of an axis. Inputs: `N` carried values, `M` scanned tensors that agree in the extent of
/// their scanned axes, what the body captures. Outputs: the `N` carried values after the last iteration, then `K`
/// tensors, each the body's items joined along a new axis.
///
/// With `batched` there is one more input at the start (int64 `[batch]`, the sequences' lengths, may be left out), and
/// every carried and scanned tensor, in and out, has a batch axis first.
///
/// The body takes carried values, items of the scanned tensors, captured values; it gives carried values and items.
#[derive(Debug, Clone)]
pub struct Scan {
    /// What is run.
    pub body: Arc<Graph>,
    /// For each of the `M` scanned tensors, which axis is scanned (negative: from the end; not counting the batch
    /// axis), and whether from the end to the start.
    pub scanned: Vec<Direction>,
    /// For each of the `K` joined outputs, which axis is new, and whether the last item comes first.
    pub joined: Vec<Direction>,
    /// Whether there is a batch axis (opset 8).
    pub batched: bool,
    /// How many of the node's inputs, at their end, are the body's last inputs.
    pub captures: usize,
}

/// How a tensor is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether the walk starts at the end.
    pub reverse: bool,
}

impl Scan {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let body = def.graph("body")?.ok_or_else(|| OpError::attribute("body", "a graph", "nothing"))?;
        let scanned = def.int("num_scan_inputs")?.unwrap_or(0);
        let scanned = usize::try_from(scanned)
            .ok()
            .filter(|&m| m > 0 && m <= body.inputs.len().saturating_sub(def.captures))
            .ok_or_else(|| OpError::attribute("num_scan_inputs", "a number of the body's inputs", scanned))?;
        let carried = body.inputs.len() - def.captures - scanned;
        let joined = body.outputs.len().checked_sub(carried).ok_or_else(|| {
            OpError::attribute("body", format!("a graph of at least {carried} outputs"), body.outputs.len())
        })?;
        let batched = def.opset < 9;
        let (scanned, joined) = if batched {
            let scanned = directions(def, None, "directions", scanned)?;
            (scanned, vec![Direction { axis: 0, reverse: false }; joined])
        } else {
            (
                directions(def, Some("scan_input_axes"), "scan_input_directions", scanned)?,
                directions(def, Some("scan_output_axes"), "scan_output_directions", joined)?,
            )
        };
        Ok(Arc::new(Scan { body, scanned, joined, batched, captures: def.captures }))
    }

    /// `N`, how many values are carried.
    pub fn carried(&self) -> usize {
        self.body.inputs.len().saturating_sub(self.captures + self.scanned.len())
    }

    /// Inputs that come before the carried values.
    fn head(&self) -> usize {
        usize::from(self.batched)
    }

    fn check_count(&self, own: usize) -> Result<(), OpError> {
        let expected = self.head() + self.carried() + self.scanned.len();
        if own == expected {
            return Ok(());
        }
        Err(OpError::Invalid(format!("the body asks for {expected} inputs of the node itself, got {own}")))
    }

    fn first(&self, inputs: Facts<'_>, own: usize) -> Result<First, OpError> {
        let (head, carried) = (self.head(), self.carried());
        let (mut batch, mut length) = (SymDim::Unknown, SymDim::Unknown);
        let mut initial = Vec::with_capacity(carried);
        for index in head..head + carried {
            let fact = inputs.require(index)?;
            initial.push(if self.batched { without_batch(fact, &mut batch, index)? } else { fact.clone() });
        }
        let mut items = Vec::with_capacity(self.scanned.len());
        for (index, &direction) in (head + carried..own).zip(&self.scanned) {
            let tensor = inputs.tensor(index)?;
            let mut item = ShapeFact::unknown();
            if let Some(rank) = tensor.shape.rank() {
                let axis = self.scanned_axis(direction, index, rank)?;
                let merged = length.merge(&tensor.shape.dim(axis));
                length = merged.ok_or_else(|| {
                    OpError::shape(
                        index,
                        format!("with extent {length} at axis {axis}, as other inputs"),
                        &tensor.shape,
                    )
                })?;
                item = without_axis(&tensor.shape, axis);
            }
            let item = Fact::tensor(tensor.dtype, item);
            items.push(if self.batched { without_batch(&item, &mut batch, index)? } else { item });
        }
        Ok(First { initial, items, batch, length })
    }

    /// The scanned axis of input `index`, of the given rank, the batch axis counted.
    fn scanned_axis(&self, direction: Direction, index: usize, rank: usize) -> Result<usize, OpError> {
        let batch = self.head();
        let axis =
            if direction.axis < 0 { direction.axis } else { direction.axis.saturating_add(batch as i64) };
        Shape::from(vec![0; rank]).axis(axis).filter(|&axis| axis >= batch).ok_or_else(|| {
            OpError::shape(index, format!("with an axis {axis} to scan"), format!("rank {rank}"))
        })
    }
}

/// What is known of the first iteration.
struct First {
    /// The carried values.
    initial: Vec<Fact>,
    /// The items of the scanned tensors.
    items: Vec<Fact>,
    batch: SymDim,
    /// How many iterations there are.
    length: SymDim,
}

/// Axes and directions of `count` tensors.
fn directions(
    def: &mut NodeDef,
    axes: Option<&str>,
    reversed: &str,
    count: usize,
) -> Result<Vec<Direction>, OpError> {
    let mut list = |name: &str| -> Result<Vec<i64>, OpError> {
        let values = def.ints(name)?.unwrap_or_else(|| vec![0; count]);
        if values.len() == count {
            return Ok(values);
        }
        Err(OpError::attribute(name, format!("{count} integers"), format!("{}", values.len())))
    };
    let axes = axes.map_or_else(|| Ok(vec![0; count]), &mut list)?;
    let reverse = list(reversed)?;
    if let Some(other) = reverse.iter().find(|&&r| r != 0 && r != 1) {
        return Err(OpError::attribute(reversed, "0 or 1", other));
    }
    Ok(axes.into_iter().zip(reverse).map(|(axis, r)| Direction { axis, reverse: r == 1 }).collect())
}

/// A shape fact without one axis.
fn without_axis(shape: &ShapeFact, axis: usize) -> ShapeFact {
    let Some(dims) = shape.dims() else { return ShapeFact::unknown() };
    dims.iter().enumerate().filter(|&(i, _)| i != axis).map(|(_, dim)| dim.clone()).collect()
}

/// A shape fact with one more axis.
fn with_axis(shape: &ShapeFact, axis: usize, extent: &SymDim) -> ShapeFact {
    let Some(dims) = shape.dims() else { return ShapeFact::unknown() };
    let mut dims = dims.to_vec();
    dims.insert(axis.min(dims.len()), extent.clone());
    dims.into()
}

/// The fact of a tensor without its first axis, which is the batch.
fn without_batch(fact: &Fact, batch: &mut SymDim, index: usize) -> Result<Fact, OpError> {
    let Fact::Tensor(tensor) = fact else { return Ok(fact.clone()) };
    if tensor.shape.rank() == Some(0) {
        return Err(OpError::shape(index, "[batch, ..]", &tensor.shape));
    }
    let merged = batch.merge(&tensor.shape.dim(0));
    *batch = merged.ok_or_else(|| OpError::shape(index, format!("[{batch}, ..]"), &tensor.shape))?;
    Ok(Fact::tensor(tensor.dtype, without_axis(&tensor.shape, 0)))
}

impl Operator for Scan {
    fn key(&self) -> OpKey {
        OpKey::onnx("Scan")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (own, captured) = captured_facts(inputs, self.captures)?;
        self.check_count(own)?;
        let First { initial, items, batch, length } = self.first(inputs, own)?;
        let (mut facts, items) = self.body_facts(&initial, &items, &captured)?;
        for (item, direction) in items.iter().zip(&self.joined) {
            facts.push(match item {
                Fact::Tensor(item) => Fact::tensor(
                    item.dtype,
                    match item.shape.rank() {
                        Some(rank) => with_axis(&item.shape, joined_axis(direction.axis, rank)?, &length),
                        None => ShapeFact::unknown(),
                    },
                ),
                _ => Fact::Unknown,
            });
        }
        if self.batched {
            for fact in &mut facts {
                if let Fact::Tensor(tensor) = fact {
                    *fact = Fact::tensor(tensor.dtype, with_axis(&tensor.shape, 0, &batch));
                }
            }
        }
        Ok(facts)
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

/// The place of a new axis among `rank` others.
fn joined_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    Shape::from(vec![0; rank + 1]).axis(axis).ok_or_else(|| {
        OpError::attribute("scan_output_axes", format!("an axis of {} dimensions", rank + 1), axis)
    })
}

impl Scan {
    /// Facts of the carried values after the last iteration, and of the items.
    fn body_facts(
        &self,
        initial: &[Fact],
        items: &[Fact],
        captured: &[Fact],
    ) -> Result<(Vec<Fact>, Vec<Fact>), OpError> {
        let (carried, mut results) = fixed_point(initial, |carried| {
            let inputs: Vec<Fact> = carried.iter().chain(items).chain(captured).cloned().collect();
            infer_body(&self.body, &inputs)
        })?;
        Ok((carried, results.split_off(initial.len().min(results.len()))))
    }

    /// Runs the body `length` times; the scanned tensors have no batch axis.
    fn scan(
        &self,
        mut carried: Vec<Value>,
        scanned: &[Tensor],
        length: usize,
        captured: &[Value],
        call: &mut CallBody<'_>,
    ) -> Result<Vec<Value>, OpError> {
        let axes = scanned
            .iter()
            .zip(&self.scanned)
            .map(|(tensor, direction)| {
                let axis = tensor.shape().axis(direction.axis).filter(|&axis| tensor.shape()[axis] >= length);
                let axis = axis.ok_or_else(|| {
                    OpError::Invalid(format!("{length} items cannot be scanned of shape {}", tensor.shape()))
                })?;
                Ok((axis, direction.reverse))
            })
            .collect::<Result<Vec<_>, OpError>>()?;
        let states = carried.len();
        let mut lists: Vec<Vec<Tensor>> = vec![Vec::new(); self.joined.len()];
        for step in 0..length {
            let mut values = std::mem::take(&mut carried);
            for (tensor, &(axis, reverse)) in scanned.iter().zip(&axes) {
                values.push(at(tensor, axis, if reverse { length - 1 - step } else { step })?.into());
            }
            values.extend_from_slice(captured);
            let mut results = call(0, values)?.into_iter();
            carried = results.by_ref().take(states).collect();
            for (list, item) in lists.iter_mut().zip(results) {
                list.push(tensor_item(item)?);
            }
        }
        if length == 0 && !lists.is_empty() {
            let items: Vec<Fact> = scanned
                .iter()
                .zip(&axes)
                .map(|(tensor, &(axis, _))| {
                    Fact::tensor(tensor.dtype(), without_axis(&tensor.shape().into(), axis))
                })
                .collect();
            carried.extend(self.no_items(&carried, &items, captured)?);
            return Ok(carried);
        }
        for (mut list, direction) in lists.into_iter().zip(&self.joined) {
            if direction.reverse {
                list.reverse();
            }
            let rank = list.first().map_or(0, |item| item.shape().rank());
            let axis = joined_axis(direction.axis, rank)?;
            carried.push(stack(&list.iter().collect::<Vec<_>>(), axis)?.into());
        }
        Ok(carried)
    }

    /// The joined items of a scan of nothing.
    fn no_items(&self, carried: &[Value], items: &[Fact], captured: &[Value]) -> Result<Vec<Value>, OpError> {
        let facts = |values: &[Value]| values.iter().map(Fact::of).collect::<Vec<_>>();
        let (_, items) = self.body_facts(&facts(carried), items, &facts(captured))?;
        let empty = items.iter().zip(&self.joined).map(|(item, direction)| {
            let (dtype, shape) = shape_of_nothing(item)?;
            let mut dims = shape.to_vec();
            dims.insert(joined_axis(direction.axis, dims.len())?, 0);
            Ok(Tensor::zeros(dtype, dims)?.into())
        });
        empty.collect()
    }

    /// Runs each sequence of the batch by itself and joins the results; shorter sequences are padded with zeros.
    fn run_batched(
        &self,
        inputs: Inputs<'_>,
        own: usize,
        captured: &[Value],
        call: &mut CallBody<'_>,
    ) -> Result<Vec<Value>, OpError> {
        let carried = self.carried();
        let first = inputs.tensor(1 + carried)?.shape().clone();
        let (Some(&batch), Some(&longest)) = (first.first(), first.get(1)) else {
            return Err(OpError::shape(1 + carried, "[batch, length, ..]", first));
        };
        let lengths = inputs.optional_ints(0)?.unwrap_or_else(|| vec![longest as i64; batch]);
        if batch == 0 || lengths.len() != batch {
            return Err(OpError::value(
                0,
                format!("a length for each of {batch} sequences (1 or more) is needed"),
            ));
        }
        let mut outputs: Vec<Vec<Tensor>> = vec![Vec::new(); carried + self.joined.len()];
        for (index, &length) in lengths.iter().enumerate() {
            let length = usize::try_from(length).ok().filter(|&length| length <= longest);
            let length = length
                .ok_or_else(|| OpError::value(0, format!("lengths are 0 to {longest}, got {lengths:?}")))?;
            let item = |input: usize| at(inputs.tensor(input)?, 0, index);
            let states = (1..1 + carried).map(|i| Ok(item(i)?.into())).collect::<Result<_, OpError>>()?;
            let scanned: Vec<Tensor> = (1 + carried..own).map(item).collect::<Result<_, _>>()?;
            let results = self.scan(states, &scanned, length, captured, call)?;
            for (slot, (list, result)) in outputs.iter_mut().zip(results).enumerate() {
                let tensor = tensor_item(result)?;
                list.push(if slot < carried { tensor } else { padded(&tensor, longest)? });
            }
        }
        outputs.iter().map(|list| Ok(stack(&list.iter().collect::<Vec<_>>(), 0)?.into())).collect()
    }
}

/// The tensor with zeros after it along its first axis, up to an extent of `length`.
fn padded(tensor: &Tensor, length: usize) -> Result<Tensor, OpError> {
    let mut missing = tensor.shape().clone();
    let extent = missing.first().copied().unwrap_or(0);
    if extent >= length {
        return cut(tensor, 0, 0, length);
    }
    missing.dims_mut()[0] = length - extent;
    join(&[tensor, &Tensor::zeros(tensor.dtype(), missing)?], 0)
}

impl Control for Scan {
    fn bodies(&self) -> Vec<&Arc<Graph>> {
        vec![&self.body]
    }

    fn with_bodies(&self, bodies: Vec<Arc<Graph>>) -> Arc<dyn Operator> {
        let body = bodies.into_iter().next().unwrap_or_else(|| self.body.clone());
        Arc::new(Scan { body, ..self.clone() })
    }

    fn body_inputs(&self, inputs: Facts<'_>) -> Result<Vec<Vec<Fact>>, OpError> {
        let (own, captured) = captured_facts(inputs, self.captures)?;
        self.check_count(own)?;
        let First { initial, items, .. } = self.first(inputs, own)?;
        Ok(vec![initial.iter().chain(&items).chain(&captured).map(without_value).collect()])
    }

    fn run(&self, inputs: Inputs<'_>, call: &mut CallBody<'_>) -> Result<Vec<Value>, OpError> {
        let (own, captured) = captured_values(inputs, self.captures)?;
        self.check_count(own)?;
        if self.batched {
            return self.run_batched(inputs, own, &captured, call);
        }
        let carried = self.carried();
        let states = (0..carried).map(|index| inputs.require(index).cloned()).collect::<Result<_, _>>()?;
        let scanned: Vec<Tensor> =
            (carried..own).map(|index| inputs.tensor(index).cloned()).collect::<Result<_, _>>()?;
        let length = match (scanned.first(), self.scanned.first()) {
            (Some(tensor), Some(direction)) => {
                tensor.shape()[self.scanned_axis(*direction, carried, tensor.shape().rank())?]
            }
            _ => 0,
        };
        self.scan(states, &scanned, length, &captured, call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::{Attr, SymDim};
    use inferrum_tensor::DType;

    /// Carries the last item as it was given and gives each item as a row: `(state, item) -> (item, item as [1, 2])`.
    fn body() -> Arc<Graph> {
        let mut body = Graph::new("body");
        body.add_input("state", Fact::of_dtype(DType::F32));
        let item = body.add_input("item", Fact::of_dtype(DType::F32));
        let to = body.add_constant("to", Tensor::vector(vec![1i64, 2]));
        let row = body.add_node("row", parse_at(14, "Reshape", &[]), vec![Some(item), Some(to)]).unwrap();
        body.outputs = vec![item, row];
        Arc::new(body)
    }

    fn scan(opset: i64, attrs: &[(&str, i64)]) -> Arc<dyn Operator> {
        let mut all: Vec<(&str, Attr)> =
            attrs.iter().map(|&(name, value)| (name, Attr::Ints(vec![value]))).collect();
        all.extend([("body", Attr::Graph(body())), ("num_scan_inputs", Attr::Int(1))]);
        parse_at(opset, "Scan", &all)
    }

    fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    fn run(op: &dyn Operator, inputs: &[Option<Tensor>]) -> Vec<Tensor> {
        try_run(op, inputs).unwrap()
    }

    #[test]
    fn items_are_taken_and_joined_in_either_direction() {
        let (state, x) = (f32s(&[2], &[0., 0.]), f32s(&[2, 3], &[1., 2., 3., 4., 5., 6.]));
        let inputs = [Some(state), Some(x)];
        let forward = run(&*scan(9, &[("scan_input_axes", 1)]), &inputs);
        assert_eq!(forward[0].as_slice::<f32>().unwrap(), [3., 6.]);
        assert_eq!(forward[1], f32s(&[3, 1, 2], &[1., 4., 2., 5., 3., 6.]));
        let backward = run(&*scan(9, &[("scan_input_axes", -1), ("scan_input_directions", 1)]), &inputs);
        assert_eq!(backward[0].as_slice::<f32>().unwrap(), [1., 4.]);
        assert_eq!(backward[1], f32s(&[3, 1, 2], &[3., 6., 2., 5., 1., 4.]));
        let prepended = [("scan_input_axes", 1), ("scan_output_directions", 1), ("scan_output_axes", -1)];
        assert_eq!(run(&*scan(11, &prepended), &inputs)[1], f32s(&[1, 2, 3], &[3., 2., 1., 6., 5., 4.]));
    }

    #[test]
    fn scanning_nothing_gives_empty_outputs() {
        let inputs = [Some(f32s(&[2], &[7., 8.])), Some(f32s(&[0, 2], &[]))];
        let outputs = run(&*scan(9, &[]), &inputs);
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [7., 8.]);
        assert_eq!(outputs[1].shape().dims(), [0, 1, 2]);
    }

    #[test]
    fn opset_8_scans_each_sequence_of_a_batch() {
        let lengths = Tensor::vector(vec![1i64, 2]);
        let state = f32s(&[2, 2], &[0.; 4]);
        let x = f32s(&[2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
        let outputs = run(&*scan(8, &[]), &[Some(lengths), Some(state.clone()), Some(x.clone())]);
        assert_eq!(outputs[0], f32s(&[2, 2], &[1., 2., 7., 8.]));
        assert_eq!(outputs[1], f32s(&[2, 2, 1, 2], &[1., 2., 0., 0., 5., 6., 7., 8.]));
        let reverse = run(&*scan(8, &[("directions", 1)]), &[None, Some(state.clone()), Some(x.clone())]);
        assert_eq!(reverse[0], f32s(&[2, 2], &[1., 2., 5., 6.]));
        let too_long = Tensor::vector(vec![1i64, 3]);
        assert!(try_run(&*scan(8, &[]), &[Some(too_long), Some(state), Some(x)]).is_err());
    }

    #[test]
    fn facts_keep_symbols() {
        let n = SymDim::Symbol("n".into());
        let x = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(2)]);
        let state = Fact::tensor(DType::F32, [2]);
        let facts = scan(9, &[]).infer(Facts(&[Some(&state), Some(&x)])).unwrap();
        assert_eq!(
            facts,
            [
                Fact::tensor(DType::F32, [2]),
                Fact::tensor(DType::F32, vec![n, SymDim::Known(1), SymDim::Known(2)])
            ]
        );
    }

    #[test]
    fn what_cannot_be_scanned_is_an_error() {
        let state = f32s(&[2], &[0., 0.]);
        let op = scan(9, &[("scan_input_axes", 1)]);
        assert!(try_run(&*op, &[Some(state.clone()), Some(state.clone())]).is_err());
        assert!(try_run(&*op, &[Some(state.clone())]).is_err());
        let op = scan(9, &[("scan_output_axes", 3)]);
        assert!(try_run(&*op, &[Some(state), Some(f32s(&[1, 2], &[1., 2.]))]).is_err());
    }
}
