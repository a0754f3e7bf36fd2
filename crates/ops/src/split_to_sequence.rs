//! `SplitToSequence` (<https://onnx.ai/onnx/operators/onnx__SplitToSequence.html>). Opset 24 added element types.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Value};

use crate::OpEntry;
use crate::pieces::cut;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("SplitToSequence", 2, SplitToSequence::parse)];

/// Pieces that an empty tensor may be split into: more cost memory that no element stands for.
const EMPTY_PIECES: usize = 1 << 16;

/// Cuts a tensor along an axis. Inputs: data of any type; the pieces' lengths (int32 or int64), as a scalar for
/// pieces of that length (the last may be shorter), or one for each; left out: pieces of length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitToSequence {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether pieces of length 1 that nobody asked for keep the axis.
    pub keep_dims: bool,
}

/// How long the pieces are.
enum Lengths {
    /// All of this length, but the last.
    Equal(usize),
    /// Each of its own.
    Each(Vec<usize>),
}

impl SplitToSequence {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(SplitToSequence { axis: def.int_or("axis", 0)?, keep_dims: def.flag("keepdims", true)? }))
    }

    fn axis(&self, rank: usize) -> Result<usize, OpError> {
        let axis = inferrum_tensor::Shape::from(vec![0; rank]).axis(self.axis);
        axis.ok_or_else(|| {
            OpError::attribute("axis", format!("an axis of the input's {rank} dimensions"), self.axis)
        })
    }
}

fn lengths(values: &[i64], scalar: bool, extent: Option<usize>) -> Result<Lengths, OpError> {
    let wrong = |why: &str| OpError::value(1, format!("{why}, got {values:?}"));
    let lengths: Vec<usize> = values
        .iter()
        .map(|&length| usize::try_from(length).map_err(|_| wrong("lengths are 0 or more")))
        .collect::<Result<_, _>>()?;
    match (scalar, lengths.as_slice()) {
        (true, &[length]) if length > 0 => Ok(Lengths::Equal(length)),
        (true, _) => Err(wrong("one length above 0 is needed")),
        (false, _) => {
            let sum = lengths.iter().fold(0usize, |sum, &length| sum.saturating_add(length));
            if extent.is_some_and(|extent| extent != sum) {
                return Err(wrong("the lengths must sum to the extent of the axis"));
            }
            Ok(Lengths::Each(lengths))
        }
    }
}

impl Operator for SplitToSequence {
    fn key(&self) -> OpKey {
        OpKey::onnx("SplitToSequence")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let split = inputs.optional(1)?;
        if let Some(split) = split {
            if !matches!(split.dtype, DType::I32 | DType::I64) {
                return Err(OpError::dtype(1, "int32 or int64", split.dtype));
            }
            if split.shape.rank().is_some_and(|rank| rank > 1) {
                return Err(OpError::shape(1, "scalar or [pieces]", &split.shape));
            }
        }
        let Some(dims) = data.shape.dims() else {
            return Ok(vec![Fact::Sequence(Box::new(Fact::of_dtype(data.dtype)))]);
        };
        let axis = self.axis(dims.len())?;
        let mut dims = dims.to_vec();
        let extent = dims[axis].known();
        if split.is_none() && !self.keep_dims {
            dims.remove(axis);
        } else {
            let scalar = split.is_some_and(|split| split.shape.rank() == Some(0));
            dims[axis] = match (split, inputs.ints(1)?) {
                (None, _) => SymDim::Known(1),
                (Some(_), None) => SymDim::Unknown,
                (Some(_), Some(values)) => match (lengths(&values, scalar, extent)?, extent) {
                    (Lengths::Equal(length), Some(extent)) if extent.is_multiple_of(length) => {
                        SymDim::Known(length)
                    }
                    (Lengths::Equal(_), _) => SymDim::Unknown,
                    (Lengths::Each(all), _) => match all.split_first() {
                        Some((first, rest)) if rest.iter().all(|length| length == first) => {
                            SymDim::Known(*first)
                        }
                        _ => SymDim::Unknown,
                    },
                },
            };
        }
        Ok(vec![Fact::Sequence(Box::new(Fact::tensor(data.dtype, ShapeFact::from(dims))))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let axis = self.axis(data.shape().rank())?;
        let extent = data.shape()[axis];
        let split = inputs.optional(1)?;
        let lengths = match split {
            None => Lengths::Equal(1),
            Some(split) => lengths(&split.to_i64()?, split.shape().rank() == 0, Some(extent))?,
        };
        let count = match &lengths {
            Lengths::Equal(length) => extent.div_ceil(*length),
            Lengths::Each(all) => all.len(),
        };
        if count > data.len().max(EMPTY_PIECES) {
            return Err(OpError::Unsupported(format!("an empty tensor split into {count} pieces")));
        }
        let mut pieces = Vec::with_capacity(count);
        let mut start = 0;
        for place in 0..count {
            let length = match &lengths {
                Lengths::Equal(length) => (*length).min(extent - start),
                Lengths::Each(all) => all[place],
            };
            let mut piece = cut(data, axis, start, length)?;
            if split.is_none() && !self.keep_dims {
                let mut dims = piece.shape().to_vec();
                dims.remove(axis);
                piece = piece.reshape(dims)?;
            }
            pieces.push(Value::Tensor(piece));
            start += length;
        }
        Ok(vec![Value::Sequence(pieces)])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_tensor::Tensor;

    fn split(
        shape: &[usize],
        op: &SplitToSequence,
        lengths: Option<Tensor>,
    ) -> Result<(String, Vec<Vec<usize>>), OpError> {
        let values = [Some(Tensor::zeros(DType::F32, shape)?.into()), lengths.map(Value::Tensor)];
        let refs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
        let fact = Inputs(&refs).with_facts(|facts| op.infer(facts))?.remove(0);
        let output = op.reference(Inputs(&refs))?.remove(0);
        assert!(fact.merge(&Fact::of(&output)).is_some(), "{fact} but {}", Fact::of(&output));
        let Value::Sequence(items) = output else { panic!() };
        Ok((fact.to_string(), items.iter().map(|item| item.as_tensor().unwrap().shape().to_vec()).collect()))
    }

    #[test]
    fn lengths_are_one_equal_or_each() {
        let op = SplitToSequence { axis: -1, keep_dims: true };
        let (fact, shapes) = split(&[2, 5], &op, Some(Tensor::scalar(2i64))).unwrap();
        assert_eq!(
            (fact.as_str(), shapes),
            ("sequence of float32[2x?]", vec![vec![2, 2], vec![2, 2], vec![2, 1]])
        );
        assert_eq!(split(&[2, 4], &op, Some(Tensor::scalar(2i32))).unwrap().0, "sequence of float32[2x2]");
        let (_, shapes) = split(&[2, 5], &op, Some(Tensor::vector(vec![0i64, 5]))).unwrap();
        assert_eq!(shapes, [[2, 0], [2, 5]]);
        assert_eq!(split(&[2, 3], &op, None).unwrap().1, [[2, 1]; 3]);
        let bare = SplitToSequence { axis: 0, keep_dims: false };
        assert_eq!(split(&[2, 3], &bare, None).unwrap().1, [[3]; 2]);
        assert_eq!(split(&[2, 3], &bare, Some(Tensor::scalar(1i64))).unwrap().1, [[1, 3]; 2]);
        assert_eq!(split(&[0, 3], &bare, None).unwrap().1.len(), 0);
    }

    #[test]
    fn impossible_lengths_are_errors() {
        let op = SplitToSequence { axis: 0, keep_dims: true };
        for lengths in [vec![2i64, 2], vec![6, -1], vec![i64::MAX, i64::MAX]] {
            assert!(split(&[5], &op, Some(Tensor::vector(lengths))).is_err());
        }
        assert!(split(&[5], &op, Some(Tensor::scalar(0i64))).is_err());
        assert!(split(&[], &op, None).is_err());
        assert!(split(&[1 << 40, 0], &op, None).is_err());
    }
}
