//! `Pad` (<https://onnx.ai/onnx/operators/onnx__Pad.html>).
//!
//! Before opset 11 the pads (opset 1: `paddings`) and the value were attributes; axes came with opset 18, the mode `wrap`
//! with opset 19.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::OpEntry;
use crate::axes::axes_input;
use crate::index::{check_index_list, strides, sums, take_or};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Pad", 4, Pad::parse).before(&[(11, 1), (18, 3)])];

/// A tensor with more (or, by negative pads, fewer) elements at both ends of its axes.
///
/// Inputs: data of any type; pads `[2 * A]` int64, first all begins and then all ends; optionally the constant (one element
/// of the data's type; a float of another width may stand in models of old opsets) and the axes `[A]`, which are all when
/// left out. Negative pads take away before the others add.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// What stands in the new places.
    pub mode: PadMode,
}

/// What stands in the new places of a padded tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// A constant, zero (false, the empty string) unless it is given.
    Constant,
    /// The data mirrored at its first and last element, which are not repeated.
    Reflect,
    /// The first or last element.
    Edge,
    /// The data again, from its other end.
    Wrap,
}

impl PadMode {
    /// Where, in an axis of `extent`, the element comes from that stands `at` places after the axis's first one (before it
    /// if negative); `None` where it is the constant.
    pub fn source(self, at: i64, extent: usize) -> Option<usize> {
        let last = i64::try_from(extent).ok()?.checked_sub(1).filter(|&last| last >= 0)?;
        let source = match self {
            PadMode::Constant if (0..=last).contains(&at) => at,
            PadMode::Constant => return None,
            PadMode::Edge => at.clamp(0, last),
            PadMode::Wrap => at.rem_euclid(last.saturating_add(1)),
            PadMode::Reflect if last == 0 => 0,
            PadMode::Reflect => {
                let folded = at.rem_euclid(last.saturating_mul(2));
                folded.min(last.saturating_mul(2) - folded)
            }
        };
        usize::try_from(source).ok()
    }
}

impl Pad {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let mode = match def.string_or("mode", "constant")?.as_str() {
            "constant" => PadMode::Constant,
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            "wrap" => PadMode::Wrap,
            other => return Err(OpError::attribute("mode", "constant, reflect, edge or wrap", other)),
        };
        if def.opset < 11 {
            def.lift_ints("paddings", 1)?;
            def.lift_ints("pads", 1)?;
            if let Some(value) = def.float("value")?.filter(|&value| value != 0.0) {
                def.lift_scalar(2, value);
            }
        }
        Ok(Arc::new(Pad { mode }))
    }

    /// Pads before and after each of `rank` axes.
    ///
    /// # Errors
    /// The pads are not twice as many as the axes; an axis is out of range or listed twice.
    pub fn pads(rank: usize, pads: &[i64], axes: Option<&[i64]>) -> Result<Vec<(i64, i64)>, OpError> {
        let axes = match axes {
            Some(axes) => axes_input(3, axes, rank)?,
            None => (0..rank).collect(),
        };
        if pads.len() != axes.len().saturating_mul(2) {
            let reason =
                format!("expected {} pads, a begin and an end for each axis, got {pads:?}", 2 * axes.len());
            return Err(OpError::value(1, reason));
        }
        let mut all = vec![(0, 0); rank];
        for (i, &axis) in axes.iter().enumerate() {
            all[axis] = (pads[i], pads[axes.len() + i]);
        }
        Ok(all)
    }

    /// The element that a constant pad writes, in the data's type.
    ///
    /// # Errors
    /// It is not one element, or of another type that is no float.
    pub fn constant(dtype: DType, value: Option<&Tensor>) -> Result<Option<Tensor>, OpError> {
        let Some(value) = value else { return Ok(None) };
        if value.len() != 1 {
            return Err(OpError::shape(2, "scalar", value.shape()));
        }
        check_constant(dtype, value.dtype())?;
        Ok(Some(if value.dtype() == dtype {
            value.clone()
        } else {
            Tensor::from_f64(dtype, [1], &value.to_f64()?)?
        }))
    }
}

fn check_constant(dtype: DType, constant: DType) -> Result<(), OpError> {
    if constant == dtype || (constant.is_float() && dtype.is_float()) {
        return Ok(());
    }
    Err(OpError::dtype(2, format!("{dtype} as the data"), constant))
}

/// `extent` with pads at both ends, or the error that too much is taken away.
fn padded_extent(extent: usize, (before, after): (i64, i64)) -> Result<usize, OpError> {
    let sum = extent as i128 + i128::from(before) + i128::from(after);
    let taken = i128::from(before.min(0)) + i128::from(after.min(0));
    if extent as i128 + taken < 0 {
        return Err(OpError::value(
            1,
            format!("pads {before} and {after} take away more than the extent {extent}"),
        ));
    }
    Ok(usize::try_from(sum).unwrap_or(usize::MAX))
}

/// `data` with `pads` before and after each axis; see [`Pad`].
///
/// # Errors
/// More is taken away than there is; an empty axis would have to give elements; memory.
pub(crate) fn padded(
    data: &Tensor,
    pads: &[(i64, i64)],
    mode: PadMode,
    constant: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    let extents = data.shape().iter().zip(pads).map(|(&extent, &pads)| padded_extent(extent, pads));
    let shape: Shape = extents.collect::<Result<_, _>>()?;
    // What negative pads leave of each axis: its first index, and how many follow.
    let left: Vec<(usize, usize)> = data
        .shape()
        .iter()
        .zip(pads)
        .map(|(&extent, &(before, after))| {
            let cut = |pad: i64| usize::try_from(pad.min(0).unsigned_abs()).unwrap_or(usize::MAX);
            (cut(before), extent.saturating_sub(cut(before)).saturating_sub(cut(after)))
        })
        .collect();
    if mode != PadMode::Constant && shape.elements() > 0 && left.iter().any(|&(_, len)| len == 0) {
        return Err(OpError::shape(0, "an element on every axis to pad with", data.shape()));
    }
    let steps = strides(data.shape());
    let positions = sums(&shape, |axis, index| {
        let (first, len) = left[axis];
        let at = i64::try_from(index).ok()?.saturating_sub(pads[axis].0.max(0));
        mode.source(at, len).map(|at| (first + at).wrapping_mul(steps[axis] as usize))
    });
    take_or(data, shape.clone(), positions, constant)
}

impl Operator for Pad {
    fn key(&self) -> OpKey {
        OpKey::onnx("Pad")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        inputs.require(1)?;
        check_index_list(inputs, 1)?;
        check_index_list(inputs, 3)?;
        if let Some(constant) = inputs.optional(2)? {
            check_constant(data.dtype, constant.dtype)?;
        }
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype)]) };
        let (pads, axes) = (inputs.ints(1)?, inputs.ints(3)?);
        let dims = match pads {
            Some(pads) if axes.is_some() || !inputs.has(3) => {
                let pads = Pad::pads(dims.len(), &pads, axes.as_deref())?;
                let padded = dims.iter().zip(pads).map(|(dim, pads)| match dim {
                    SymDim::Known(extent) => padded_extent(*extent, pads).map(SymDim::Known),
                    dim if pads == (0, 0) => Ok(dim.clone()),
                    _ => Ok(SymDim::Unknown),
                });
                padded.collect::<Result<Vec<_>, _>>()?
            }
            _ => vec![SymDim::Unknown; dims.len()],
        };
        Ok(vec![Fact::tensor(data.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let pads = Pad::pads(data.shape().rank(), &inputs.ints(1)?, inputs.optional_ints(3)?.as_deref())?;
        let constant = Pad::constant(data.dtype(), inputs.optional(2)?)?;
        Ok(vec![padded(data, &pads, self.mode, constant.as_ref())?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[1, 3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn row(mode: PadMode, pads: [i64; 2]) -> Result<Vec<i32>, OpError> {
        let inputs = [Tensor::vector(vec![1i32, 2, 3]), Tensor::vector(pads.to_vec())];
        let outputs = try_run(&Pad { mode }, &inputs.map(Some))?;
        Ok(outputs[0].as_slice::<i32>()?.to_vec())
    }

    #[test]
    fn each_mode_fills_both_ends() {
        use PadMode::*;
        assert_eq!(row(Constant, [1, 2]).unwrap(), [0, 1, 2, 3, 0, 0]);
        assert_eq!(row(Edge, [2, 1]).unwrap(), [1, 1, 1, 2, 3, 3]);
        assert_eq!(row(Reflect, [2, 2]).unwrap(), [3, 2, 1, 2, 3, 2, 1]);
        assert_eq!(row(Reflect, [5, 0]).unwrap(), [2, 1, 2, 3, 2, 1, 2, 3]);
        assert_eq!(row(Wrap, [4, 2]).unwrap(), [3, 1, 2, 3, 1, 2, 3, 1, 2]);
    }

    #[test]
    fn negative_pads_take_away_first() {
        use PadMode::*;
        assert_eq!(row(Constant, [-1, 0]).unwrap(), [2, 3]);
        assert_eq!(row(Constant, [1, -1]).unwrap(), [0, 1, 2]);
        assert_eq!(row(Edge, [-1, 2]).unwrap(), [2, 3, 3, 3]);
        assert_eq!(row(Reflect, [2, -1]).unwrap(), [1, 2, 1, 2]);
        assert_eq!(row(Constant, [-3, 0]).unwrap(), [0; 0]);
        assert!(row(Constant, [-4, 2]).is_err());
        assert!(row(Edge, [-3, 2]).is_err());
        assert!(row(Constant, [i64::MAX, i64::MAX]).is_err());
        assert!(row(Constant, [i64::MIN, i64::MIN]).is_err());
    }

    #[test]
    fn axes_and_a_constant_may_be_given() {
        let data = Tensor::from_strings([1, 1], vec!["x".into()]).unwrap();
        let fill = Tensor::from_strings([], vec!["-".into()]).unwrap();
        let inputs = [data, Tensor::vector(vec![1i64, 0]), fill, Tensor::vector(vec![-1i32])];
        let out = run(&Pad { mode: PadMode::Constant }, &inputs).remove(0);
        assert_eq!(
            (out.shape().dims(), out.as_strings().unwrap()),
            (&[1, 2][..], &["-".into(), "x".into()][..])
        );
    }

    #[test]
    fn scalars_and_empty_tensors_pass() {
        let none = Tensor::vector(Vec::<i64>::new());
        let op = Pad { mode: PadMode::Constant };
        assert_eq!(run(&op, &[Tensor::scalar(5u8), none])[0], Tensor::scalar(5u8));
        let empty = Tensor::zeros(DType::F32, [0, 2]).unwrap();
        let out = run(&op, &[empty, Tensor::vector(vec![1i64, 0, 0, 0]), Tensor::scalar(2f32)]).remove(0);
        assert_eq!(out, Tensor::from_vec([1, 2], vec![2f32, 2.0]).unwrap());
    }

    #[test]
    fn old_attributes_become_inputs() {
        let attrs = [("paddings".to_owned(), Attr::Ints(vec![0, 1])), ("value".to_owned(), Attr::Float(2.0))];
        let mut def = NodeDef::new("Pad", 1, attrs.into());
        let op = crate::parse("", &mut def).unwrap().unwrap();
        let lifted = def.finish().unwrap();
        assert_eq!(lifted, [(1, Tensor::vector(vec![0i64, 1])), (2, Tensor::scalar(2f32))]);
        let data = Tensor::vector(vec![1f64]);
        let out = run(&*op, &[data, lifted[0].1.clone(), lifted[1].1.clone()]).remove(0);
        assert_eq!(out.as_slice::<f64>().unwrap(), [1.0, 2.0]);
        let attrs = [("mode".to_owned(), Attr::String(b"mirror".to_vec()))];
        assert!(crate::parse("", &mut NodeDef::new("Pad", 13, attrs.into())).unwrap().is_err());
        parse_at(2, "Pad", &[("pads", Attr::Ints(vec![]))]);
    }
}
