//! `ReverseSequence` (<https://onnx.ai/onnx/operators/onnx__ReverseSequence.html>). Opset 28 only added bfloat16.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::index::{Canvas, check_indices};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("ReverseSequence", 2, ReverseSequence::parse)];

/// Each sample's first steps in reverse, the others as they are. Inputs: data of any type and at least two axes; lengths
/// `[batch]` int64, how many steps of each sample are reversed.
#[derive(Debug, Clone, PartialEq)]
pub struct ReverseSequence {
    /// Whether the axes are batch and time, or time and batch.
    pub batch_first: bool,
}

impl ReverseSequence {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let (batch, time) = (def.int_or("batch_axis", 1)?, def.int_or("time_axis", 0)?);
        match (batch, time) {
            (0, 1) => Ok(Arc::new(ReverseSequence { batch_first: true })),
            (1, 0) => Ok(Arc::new(ReverseSequence { batch_first: false })),
            _ => Err(OpError::attribute(
                "time_axis",
                "0 or 1, and batch_axis the other",
                format!("{time}, {batch}"),
            )),
        }
    }
}

impl Operator for ReverseSequence {
    fn key(&self) -> OpKey {
        OpKey::onnx("ReverseSequence")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, lengths) = (inputs.tensor(0)?, inputs.tensor(1)?);
        check_indices(inputs, 1)?;
        if let Some(dims) = data.shape.dims() {
            let [first, second, ..] = dims else {
                return Err(OpError::shape(0, "at least two axes", &data.shape));
            };
            let batch = if self.batch_first { first } else { second };
            if lengths.shape.merge(&vec![batch.clone()].into()).is_none() {
                return Err(OpError::shape(1, format!("[{batch}], one length a sample"), &lengths.shape));
            }
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let &[first, second, ..] = data.shape().dims() else {
            return Err(OpError::shape(0, "at least two axes", data.shape()));
        };
        if data.is_empty() {
            return Ok(vec![data.clone().into()]);
        }
        let (steps, inner) = (if self.batch_first { second } else { first }, data.len() / first / second);
        let at = |sample: usize, step: usize| {
            let (i, j) = if self.batch_first { (sample, step) } else { (step, sample) };
            (i * second + j) * inner
        };
        let mut canvas = Canvas::copy_of(data)?;
        for (sample, &length) in inputs.ints(1)?.iter().enumerate() {
            let length = usize::try_from(length).ok().filter(|&length| length <= steps).ok_or_else(|| {
                OpError::value(1, format!("lengths are from 0 to the {steps} steps, got {length}"))
            })?;
            for step in 0..length {
                canvas.copy(at(sample, step), data, at(sample, length - 1 - step), inner)?;
            }
        }
        Ok(vec![canvas.finish()?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn each_sample_is_reversed_to_its_length() {
        let data = Tensor::from_vec([3, 2, 1], vec![1i32, 2, 3, 4, 5, 6]).unwrap();
        let op = parse_at(10, "ReverseSequence", &[]);
        let out = run(&*op, &[data.clone(), Tensor::vector(vec![3i64, 2])]).remove(0);
        assert_eq!(out.to_i64().unwrap(), [5, 4, 3, 2, 1, 6]);
        let op =
            parse_at(10, "ReverseSequence", &[("batch_axis", Attr::Int(0)), ("time_axis", Attr::Int(1))]);
        let out = run(&*op, &[data, Tensor::vector(vec![2i64, 1, 0])]).remove(0);
        assert_eq!(out.to_i64().unwrap(), [2, 1, 3, 4, 5, 6]);
    }

    #[test]
    fn unfit_lengths_and_axes_are_errors() {
        let op = ReverseSequence { batch_first: true };
        for lengths in [vec![4i64, 0], vec![-1, 0], vec![1]] {
            let data = Tensor::zeros(DType::F32, [2, 3]).unwrap();
            assert!(try_run(&op, &[Some(data), Some(Tensor::vector(lengths))]).is_err());
        }
        let attrs = [("batch_axis".to_owned(), Attr::Int(0))];
        assert!(crate::parse("", &mut NodeDef::new("ReverseSequence", 10, attrs.into())).unwrap().is_err());
    }
}
