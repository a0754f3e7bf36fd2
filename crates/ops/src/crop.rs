//! `Crop`, an experimental operator of ONNX's first opsets that old exporters wrote; later ones use `Slice`. It was never
//! in the standard's list; this is what ONNX Runtime does
//! (<https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/core/providers/cpu/tensor/crop.h>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::extents;
use crate::pad::{PadMode, padded};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Crop", 1, Crop::parse)];

/// A part of images. Input: `[N, C, H, W]` of any type.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    /// What is cut away: left, top, right, bottom, in elements.
    pub border: [usize; 4],
    /// Height and width that are left, counted from the left and top border, which then count alone.
    pub scale: Option<[usize; 2]>,
}

impl Crop {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let border = match def.ints("border")? {
            None => return Err(OpError::attribute("border", "left, top, right, bottom", "nothing")),
            Some(border) => counts("border", &border)?,
        };
        let scale = match def.ints("scale")? {
            None => None,
            Some(scale) if scale.is_empty() => None,
            Some(scale) => Some(counts("scale", &scale)?),
        };
        Ok(Arc::new(Crop { border, scale }))
    }
}

fn counts<const N: usize>(name: &str, list: &[i64]) -> Result<[usize; N], OpError> {
    let counts: Option<Vec<usize>> = list.iter().map(|&count| usize::try_from(count).ok()).collect();
    counts.and_then(|counts| counts.try_into().ok()).ok_or_else(|| {
        OpError::attribute(name, format!("{N} numbers that are not negative"), format!("{list:?}"))
    })
}

/// What is left of an axis, or the error that it is less than nothing.
fn cropped(dim: &SymDim, begin: usize, end: usize, scale: Option<usize>) -> Result<SymDim, OpError> {
    let Some(extent) = dim.known() else { return Ok(scale.map_or(SymDim::Unknown, SymDim::Known)) };
    let left = extent.checked_sub(begin);
    let left = match scale {
        Some(scale) => left.filter(|&left| left >= scale).map(|_| scale),
        None => left.and_then(|left| left.checked_sub(end)),
    };
    left.map(SymDim::Known).ok_or_else(|| {
        OpError::shape(0, "an image that is larger than what is cropped", format!("extent {extent}"))
    })
}

impl Operator for Crop {
    fn key(&self) -> OpKey {
        OpKey::onnx("Crop")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let [left, top, right, bottom] = self.border;
        let dims = match data.shape.dims() {
            None => ShapeFact::of_rank(4).dims().unwrap_or_default().to_vec(),
            Some([n, c, h, w]) => vec![
                n.clone(),
                c.clone(),
                cropped(h, top, bottom, self.scale.map(|[height, _]| height))?,
                cropped(w, left, right, self.scale.map(|[_, width]| width))?,
            ],
            Some(_) => return Err(OpError::shape(0, "[N, C, H, W]", &data.shape)),
        };
        Ok(vec![Fact::tensor(data.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let begins = [0, 0, self.border[1], self.border[0]];
        // All numbers are within an extent now.
        let pads: Vec<(i64, i64)> = (0..4)
            .map(|axis| {
                let taken = data.shape()[axis] - shape[axis];
                (-(begins[axis] as i64), -((taken - begins[axis]) as i64))
            })
            .collect();
        Ok(vec![padded(data, &pads, PadMode::Constant, None)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn borders_or_a_window_are_cut_out() {
        let data = Tensor::from_vec([1, 1, 3, 3], vec![1i8, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        let border = ("border", Attr::Ints(vec![1, 0, 1, 2]));
        let out =
            run(&*parse_at(1, "Crop", std::slice::from_ref(&border)), std::slice::from_ref(&data)).remove(0);
        assert_eq!(out, Tensor::from_vec([1, 1, 1, 1], vec![2i8]).unwrap());
        let op = parse_at(1, "Crop", &[border, ("scale", Attr::Ints(vec![3, 2]))]);
        let out = run(&*op, &[data]).remove(0);
        assert_eq!(out, Tensor::from_vec([1, 1, 3, 2], vec![2i8, 3, 5, 6, 8, 9]).unwrap());
    }

    #[test]
    fn more_than_there_is_cannot_be_cut() {
        let op = Crop { border: [2, 0, 2, 0], scale: None };
        assert!(try_run(&op, &[Some(Tensor::zeros(DType::F32, [1, 1, 3, 3]).unwrap())]).is_err());
        let op = Crop { border: [usize::MAX, 0, 0, 0], scale: Some([3, 1]) };
        assert!(try_run(&op, &[Some(Tensor::zeros(DType::F32, [1, 1, 3, 3]).unwrap())]).is_err());
        assert!(try_run(&op, &[Some(Tensor::zeros(DType::F32, [3, 3]).unwrap())]).is_err());
    }
}
