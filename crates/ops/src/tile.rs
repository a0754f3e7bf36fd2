//! `Tile` (<https://onnx.ai/onnx/operators/onnx__Tile.html>). Before opset 6 a count and an axis, both scalars of the data's
//! type, were the second and third input.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::index_below;
use crate::extents;
use crate::index::{strides, sums, take_or};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Tile", 2, Tile::parse).before(&[(6, 3)])];

/// A tensor repeated along its axes. Inputs: data of any type; repeats `[R]` int64, one for each axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    /// Opset 1: the repeats are one count, and a third input names the only axis repeated.
    pub one_axis: bool,
}

impl Tile {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Tile { one_axis: def.opset < 6 }))
    }

    /// How often each of `rank` axes is repeated.
    ///
    /// # Errors
    /// Another number of repeats, a negative one, an axis out of range.
    pub fn repeats(&self, rank: usize, repeats: &[i64], axis: Option<&[i64]>) -> Result<Vec<usize>, OpError> {
        let counts = extents::extents_input(1, repeats)?;
        if !self.one_axis {
            let wrong = || OpError::value(1, format!("expected {rank} repeats, got {repeats:?}"));
            return if counts.rank() == rank { Ok(counts.to_vec()) } else { Err(wrong()) };
        }
        let ([count], Some(&[axis])) = (counts.dims(), axis) else {
            return Err(OpError::value(1, "opset 1 repeats one axis: a count and an axis are needed"));
        };
        let axis = index_below(axis, rank)
            .ok_or_else(|| OpError::value(2, format!("axis {axis} is out of range for {rank} dimensions")))?;
        let mut all = vec![1; rank];
        all[axis] = *count;
        Ok(all)
    }
}

impl Operator for Tile {
    fn key(&self) -> OpKey {
        OpKey::onnx("Tile")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        inputs.tensor(1)?;
        if self.one_axis {
            inputs.tensor(2)?;
        }
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype)]) };
        let (repeats, axis) = (inputs.ints(1)?, inputs.ints(2)?);
        let dims: Vec<SymDim> = match repeats {
            Some(repeats) if axis.is_some() || !self.one_axis => {
                let repeats = self.repeats(dims.len(), &repeats, axis.as_deref())?;
                dims.iter()
                    .zip(repeats)
                    .map(|(dim, count)| extents::product(&[dim.clone(), SymDim::Known(count)]))
                    .collect()
            }
            _ => vec![SymDim::Unknown; dims.len()],
        };
        Ok(vec![Fact::tensor(data.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let steps = strides(data.shape());
        let positions = sums(&shape, |axis, index| {
            index.checked_rem(data.shape()[axis]).map(|i| i * steps[axis] as usize)
        });
        Ok(vec![take_or(data, shape.clone(), positions, None)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1, 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn axes_are_repeated_whole() {
        let data = Tensor::from_strings([1, 2], vec!["a".into(), "b".into()]).unwrap();
        let out = run(&Tile { one_axis: false }, &[data.clone(), Tensor::vector(vec![2i64, 2])]).remove(0);
        assert_eq!(out.shape().dims(), [2, 4]);
        assert_eq!(out.as_strings().unwrap(), ["a", "b", "a", "b", "a", "b", "a", "b"]);
        let none = run(&Tile { one_axis: false }, &[data.clone(), Tensor::vector(vec![0i64, 1])]).remove(0);
        assert_eq!(none.shape().dims(), [0, 2]);
        for wrong in [vec![1i64], vec![1, -1], vec![1 << 40, 1 << 40]] {
            let inputs = [Some(data.clone()), Some(Tensor::vector(wrong))];
            assert!(try_run(&Tile { one_axis: false }, &inputs).is_err());
        }
    }

    #[test]
    fn opset_1_repeats_one_axis() {
        let op = crate::testing::parse_at(1, "Tile", &[]);
        let data = Tensor::from_vec([2, 1], vec![1f32, 2.0]).unwrap();
        let out = run(&*op, &[data, Tensor::scalar(3f32), Tensor::scalar(-1f32)]).remove(0);
        assert_eq!(out, Tensor::from_vec([2, 3], vec![1f32, 1.0, 1.0, 2.0, 2.0, 2.0]).unwrap());
    }

    #[test]
    fn a_repeat_of_1_keeps_the_symbol() {
        let n = SymDim::Symbol("n".into());
        let data = Fact::tensor(DType::F32, vec![n.clone(), n.clone()]);
        let repeats = Fact::constant(Tensor::vector(vec![1i64, 2]));
        let facts = Tile { one_axis: false }.infer(Facts(&[Some(&data), Some(&repeats)])).unwrap();
        assert_eq!(facts[0].as_tensor().unwrap().shape, vec![n, SymDim::Unknown].into());
    }
}
