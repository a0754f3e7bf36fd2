//! The iterations: items are taken from the scanned tensors, and the body's joined.

use inferrum_graph::{CallBody, Fact, Inputs, OpError};
use inferrum_tensor::{Tensor, Value};

use super::{Scan, joined_axis, without_axis};
use crate::body::shape_of_nothing;
use crate::loop_::tensor_item;
use crate::pieces::{at, cut, join, stack};

impl Scan {
    /// Runs the body `length` times; the scanned tensors have no batch axis.
    pub(super) fn scan(
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
    pub(super) fn run_batched(
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
