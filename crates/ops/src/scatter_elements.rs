//! `ScatterElements`, and `Scatter`, its name before opset 11
//! (<https://onnx.ai/onnx/operators/onnx__ScatterElements.html>).
//!
//! Opset 16 added the reductions `add` and `mul`, opset 18 `max` and `min`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::gather_elements::{check_shapes, positions};
use crate::index::{Canvas, check_indices};
use crate::number::{Number, with_number};
use crate::types::NUMBERS_AND_TRUTH;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("ScatterElements", 3, ScatterElements::parse),
    OpEntry::onnx("Scatter", 3, ScatterElements::parse),
];

/// The data with updates at places whose position on one axis is an index, and on the others that of the index itself.
/// Inputs: data of any type; indices, int32 or int64; updates of the data's type and the indices' shape.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterElements {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// What becomes of the element that stood in an update's place.
    pub reduction: ScatterReduction,
}

/// How an update and the element in its place are combined. Updates of one place take effect in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScatterReduction {
    /// The update replaces the element.
    None,
    /// Their sum.
    Add,
    /// Their product.
    Mul,
    /// The greater; NaN if either is.
    Max,
    /// The lesser; NaN if either is.
    Min,
}

impl ScatterReduction {
    pub(crate) fn parse(def: &mut NodeDef) -> Result<ScatterReduction, OpError> {
        Ok(match def.string_or("reduction", "none")?.as_str() {
            "none" => ScatterReduction::None,
            "add" => ScatterReduction::Add,
            "mul" => ScatterReduction::Mul,
            "max" => ScatterReduction::Max,
            "min" => ScatterReduction::Min,
            other => return Err(OpError::attribute("reduction", "none, add, mul, max or min", other)),
        })
    }

    /// Checks that updates (input 2) have the data's type, and that it can be reduced.
    ///
    /// # Errors
    /// [`OpError::DType`].
    pub(crate) fn check(self, data: DType, updates: DType) -> Result<(), OpError> {
        if data != updates {
            return Err(OpError::dtype(2, format!("{data} as the data"), updates));
        }
        if self == ScatterReduction::None { Ok(()) } else { NUMBERS_AND_TRUTH.check(0, data) }
    }

    fn combine<N: Number>(self, element: N, update: N) -> N {
        match self {
            ScatterReduction::None => update,
            ScatterReduction::Add => element.plus(update),
            ScatterReduction::Mul => element.times(update),
            ScatterReduction::Max => element.greater(update),
            ScatterReduction::Min => element.lesser(update),
        }
    }

    /// `data` with the runs of `run` elements of `updates`, in order, at `positions`.
    ///
    /// # Errors
    /// A position that is an error, or out of range; memory.
    pub(crate) fn scatter(
        self,
        data: &Tensor,
        updates: &Tensor,
        run: usize,
        positions: impl Iterator<Item = Result<usize, OpError>>,
    ) -> Result<Tensor, OpError> {
        if self != ScatterReduction::None {
            return with_number!(data.dtype(), N => self.reduce::<N>(data, updates, run, positions));
        }
        let mut canvas = Canvas::copy_of(data)?;
        for (i, position) in positions.enumerate() {
            canvas.copy(position?, updates, i * run, run)?;
        }
        canvas.finish()
    }

    fn reduce<N: Number>(
        self,
        data: &Tensor,
        updates: &Tensor,
        run: usize,
        positions: impl Iterator<Item = Result<usize, OpError>>,
    ) -> Result<Tensor, OpError> {
        let (mut elements, updates) = (N::read(data)?, N::read(updates)?);
        for (position, updates) in positions.zip(updates.chunks(run.max(1))) {
            let position = position?;
            let places = elements.get_mut(position..).unwrap_or_default();
            for (place, &update) in places.iter_mut().zip(updates) {
                *place = self.combine(*place, update);
            }
        }
        N::write(data.dtype(), data.shape().clone(), &elements)
    }
}

impl ScatterElements {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(ScatterElements {
            axis: def.int_or("axis", 0)?,
            reduction: ScatterReduction::parse(def)?,
        }))
    }
}

impl Operator for ScatterElements {
    fn key(&self) -> OpKey {
        OpKey::onnx("ScatterElements")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, indices, updates) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        check_indices(inputs, 1)?;
        self.reduction.check(data.dtype, updates.dtype)?;
        check_shapes(&data.shape, &indices.shape, self.axis)?;
        if indices.shape.merge(&updates.shape).is_none() {
            return Err(OpError::shape(2, format!("{} as the indices", indices.shape), &updates.shape));
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let axis = axis_attr(self.axis, data.shape().rank())?;
        let values = indices.to_i64()?;
        let places = positions(data.shape(), indices.shape(), &values, axis);
        Ok(vec![self.reduction.scatter(data, inputs.tensor(2)?, 1, places)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn scattered<T: inferrum_tensor::Element>(reduction: &str, data: Vec<T>, updates: Vec<T>) -> Vec<f64> {
        let op = parse_at(18, "ScatterElements", &[("reduction", Attr::String(reduction.into()))]);
        let indices = Tensor::vector(vec![1i32, -1, 1]);
        run(&*op, &[Tensor::vector(data), indices, Tensor::vector(updates)])[0].to_f64().unwrap()
    }

    #[test]
    fn updates_replace_or_reduce_in_order() {
        let (data, updates) = (vec![1f32, 2.0, 3.0], vec![5f32, -1.0, 4.0]);
        assert_eq!(scattered("none", data.clone(), updates.clone()), [1.0, 4.0, -1.0]);
        assert_eq!(scattered("add", data.clone(), updates.clone()), [1.0, 11.0, 2.0]);
        assert_eq!(scattered("mul", data.clone(), updates.clone()), [1.0, 40.0, -3.0]);
        assert_eq!(scattered("max", data.clone(), updates.clone()), [1.0, 5.0, 3.0]);
        assert_eq!(scattered("min", data.clone(), updates), [1.0, 2.0, -1.0]);
        assert!(scattered("max", data, vec![f32::NAN, 0.0, 9.0])[1].is_nan());
        assert_eq!(scattered("add", vec![1u8, 250, 3], vec![4u8, 1, 3]), [1.0, 1.0, 4.0]);
        assert_eq!(scattered("mul", vec![true, true, false], vec![true, true, false]), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn other_axes_keep_their_place() {
        let data = Tensor::from_strings([2, 2], ["a", "b", "c", "d"].map(String::from).to_vec()).unwrap();
        let updates = Tensor::from_strings([1, 2], ["x", "y"].map(String::from).to_vec()).unwrap();
        let indices = Tensor::from_vec([1, 2], vec![1i64, 0]).unwrap();
        let op = parse_at(9, "Scatter", &[("axis", Attr::Int(0))]);
        let out = run(&*op, &[data, indices, updates]).remove(0);
        assert_eq!(out.as_strings().unwrap(), ["a", "y", "x", "d"]);
    }

    #[test]
    fn unfit_inputs_are_errors() {
        let op = ScatterElements { axis: 0, reduction: ScatterReduction::None };
        let try_with = |data: Tensor, indices: Vec<i64>, updates: Tensor| {
            try_run(&op, &[Some(data), Some(Tensor::vector(indices)), Some(updates)])
        };
        let data = || Tensor::vector(vec![1f32, 2.0]);
        assert!(try_with(data(), vec![2], Tensor::vector(vec![1f32])).is_err());
        assert!(try_with(data(), vec![0, 1], Tensor::vector(vec![1f32])).is_err());
        assert!(try_with(data(), vec![0], Tensor::vector(vec![1f64])).is_err());
        assert!(try_with(Tensor::scalar(1f32), vec![0], Tensor::vector(vec![1f32])).is_err());
    }
}
