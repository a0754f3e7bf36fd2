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
use crate::body::{captured_facts, captured_values, fixed_point, infer_body, is_pure, without_value};

mod iteration;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Scan", OpEntry::VARIADIC, Scan::parse)];

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

/// The place of a new axis among `rank` others.
fn joined_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    Shape::from(vec![0; rank + 1]).axis(axis).ok_or_else(|| {
        OpError::attribute("scan_output_axes", format!("an axis of {} dimensions", rank + 1), axis)
    })
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
mod tests;
