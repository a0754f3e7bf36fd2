//! `CenterCropPad` (<https://onnx.ai/onnx/operators/onnx__CenterCropPad.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::axes_input;
use crate::extents::{self, extents_input};
use crate::index::check_index_list;
use crate::pad::{PadMode, padded};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("CenterCropPad", 2, CenterCropPad::parse)];

/// A tensor cropped, or padded with zeros, about its centre. Inputs: data of any type; the new extents `[A]`, int32 or
/// int64. An odd rest is cropped from, or padded at, the end.
#[derive(Debug, Clone, PartialEq)]
pub struct CenterCropPad {
    /// The axes that change (negative ones count from the end); all when left out.
    pub axes: Option<Vec<i64>>,
}

impl CenterCropPad {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(CenterCropPad { axes: def.ints("axes")? }))
    }

    /// The axes that change, of `rank` ones.
    ///
    /// # Errors
    /// One is out of range or listed twice.
    pub fn axes(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        let Some(axes) = &self.axes else { return Ok((0..rank).collect()) };
        axes_input(0, axes, rank).map_err(|_| {
            OpError::attribute(
                "axes",
                format!("axes of the input's {rank} dimensions, each once"),
                format!("{axes:?}"),
            )
        })
    }
}

impl Operator for CenterCropPad {
    fn key(&self) -> OpKey {
        OpKey::onnx("CenterCropPad")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        inputs.require(1)?;
        check_index_list(inputs, 1)?;
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype)]) };
        let (axes, mut dims) = (self.axes(dims.len())?, dims.to_vec());
        let extents = match inputs.ints(1)? {
            None => None,
            Some(extents) if extents.len() == axes.len() => Some(extents_input(1, &extents)?),
            Some(extents) => {
                return Err(OpError::value(1, format!("expected {} extents, got {extents:?}", axes.len())));
            }
        };
        for (i, axis) in axes.into_iter().enumerate() {
            dims[axis] = extents.as_ref().map_or(SymDim::Unknown, |extents| SymDim::Known(extents[i]));
        }
        Ok(vec![Fact::tensor(data.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let pads: Option<Vec<(i64, i64)>> = shape
            .iter()
            .zip(data.shape().iter())
            .map(|(&new, &old)| {
                let difference = i64::try_from(new).ok()?.checked_sub(i64::try_from(old).ok()?)?;
                // Division truncates, so that the rest is at the end for either sign.
                Some((difference / 2, difference - difference / 2))
            })
            .collect();
        let pads = pads.ok_or_else(|| OpError::value(1, "the extents are too large"))?;
        Ok(vec![padded(data, &pads, PadMode::Constant, None)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::Tensor;

    #[test]
    fn odd_rests_are_at_the_end() {
        let row = |extent: i64| {
            let inputs = [Tensor::vector(vec![1u8, 2, 3, 4, 5]), Tensor::vector(vec![extent])];
            run(&CenterCropPad { axes: None }, &inputs)[0].as_slice::<u8>().unwrap().to_vec()
        };
        assert_eq!(row(2), [2, 3]);
        assert_eq!(row(3), [2, 3, 4]);
        assert_eq!(row(8), [0, 1, 2, 3, 4, 5, 0, 0]);
        assert_eq!(row(0), [0; 0]);
        assert_eq!(row(5), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn only_listed_axes_change() {
        let op = parse_at(18, "CenterCropPad", &[("axes", Attr::Ints(vec![-1, 0]))]);
        let data = Tensor::from_vec([3, 1, 1], vec![1i32, 2, 3]).unwrap();
        let out = run(&*op, &[data.clone(), Tensor::vector(vec![3i32, 1])]).remove(0);
        assert_eq!(out, Tensor::from_vec([1, 1, 3], vec![0i32, 2, 0]).unwrap());
        for wrong in [vec![1i32], vec![1, -1]] {
            assert!(try_run(&*op, &[Some(data.clone()), Some(Tensor::vector(wrong))]).is_err());
        }
    }
}
