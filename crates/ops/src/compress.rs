//! `Compress` (<https://onnx.ai/onnx/operators/onnx__Compress.html>). Opset 11 allowed a negative axis.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Value};

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::extents;
use crate::index::take_runs;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Compress", 2, Compress::parse)];

/// The slices of an axis for which a condition holds. Inputs: data of any type; condition `[C]` bool, which may be shorter
/// than the axis: what it does not reach is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Compress {
    /// The axis; negative counts from the end. The data is flattened when left out.
    pub axis: Option<i64>,
}

impl Compress {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Compress { axis: def.int("axis")? }))
    }

    /// The axis of data of `rank` axes, if one is given.
    fn axis(&self, rank: usize) -> Result<Option<usize>, OpError> {
        self.axis.map(|axis| axis_attr(axis, rank)).transpose()
    }
}

/// The indices below `extent` for which the condition holds.
fn chosen(condition: &[bool], extent: usize) -> impl Iterator<Item = usize> + Clone + '_ {
    condition.iter().take(extent).enumerate().filter(|(_, holds)| **holds).map(|(i, _)| i)
}

impl Operator for Compress {
    fn key(&self) -> OpKey {
        OpKey::onnx("Compress")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, condition) = (inputs.tensor(0)?, inputs.tensor(1)?);
        if condition.dtype != DType::Bool {
            return Err(OpError::dtype(1, "bool", condition.dtype));
        }
        if condition.shape.rank().is_some_and(|rank| rank != 1) {
            return Err(OpError::shape(1, "[C]", &condition.shape));
        }
        let Some(dims) = data.shape.dims() else {
            let shape = if self.axis.is_none() { ShapeFact::of_rank(1) } else { ShapeFact::unknown() };
            return Ok(vec![Fact::tensor(data.dtype, shape)]);
        };
        let mut dims = dims.to_vec();
        let axis = match self.axis(dims.len())? {
            Some(axis) => axis,
            None => {
                dims = vec![extents::product(&dims)];
                0
            }
        };
        dims[axis] = match (dims[axis].known(), inputs.value(1)) {
            (Some(extent), Some(condition)) => SymDim::Known(chosen(condition.as_slice()?, extent).count()),
            _ => SymDim::Unknown,
        };
        Ok(vec![Fact::tensor(data.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let condition = inputs.tensor(1)?.as_slice::<bool>()?;
        let shape = extents::output_shape(self, inputs)?;
        let (outer, extent, inner) = match self.axis(data.shape().rank())? {
            Some(axis) => data.shape().split_at_axis(axis),
            None => (1, data.len(), 1),
        };
        let places: Vec<usize> = chosen(condition, extent).collect();
        let places = &places;
        let rows = if places.is_empty() { 0 } else { outer };
        let starts = (0..rows).flat_map(|row| places.iter().map(move |place| (row * extent + place) * inner));
        Ok(vec![take_runs(data, shape, inner, starts)?.into()])
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
    fn slices_or_elements_are_chosen() {
        let data = Tensor::from_vec([2, 3], vec![1u8, 2, 3, 4, 5, 6]).unwrap();
        let condition = Tensor::vector(vec![false, true, true]);
        let op = parse_at(11, "Compress", &[("axis", Attr::Int(-1))]);
        let out = run(&*op, &[data.clone(), condition.clone()]).remove(0);
        assert_eq!(out, Tensor::from_vec([2, 2], vec![2u8, 3, 5, 6]).unwrap());
        let out =
            run(&*parse_at(9, "Compress", &[("axis", Attr::Int(0))]), &[data.clone(), condition.clone()]);
        assert_eq!(out[0], Tensor::from_vec([1, 3], vec![4u8, 5, 6]).unwrap());
        let out = run(&*parse_at(9, "Compress", &[]), &[data.clone(), condition]).remove(0);
        assert_eq!(out, Tensor::vector(vec![2u8, 3]));
        let none = run(&Compress { axis: Some(0) }, &[data, Tensor::vector(vec![false; 9])]).remove(0);
        assert_eq!(none.shape().dims(), [0, 3]);
    }

    #[test]
    fn the_count_is_unknown_without_the_condition() {
        let (data, condition) = (Fact::tensor(DType::F32, [2, 3]), Fact::tensor(DType::Bool, [2]));
        let facts = Compress { axis: Some(0) }.infer(Facts(&[Some(&data), Some(&condition)])).unwrap();
        assert_eq!(facts[0].as_tensor().unwrap().shape, vec![SymDim::Unknown, SymDim::Known(3)].into());
    }

    #[test]
    fn unfit_inputs_are_errors() {
        let data = || Some(Tensor::zeros(DType::F32, [2, 3]).unwrap());
        assert!(try_run(&Compress { axis: Some(2) }, &[data(), Some(Tensor::vector(vec![true]))]).is_err());
        assert!(try_run(&Compress { axis: None }, &[data(), Some(Tensor::scalar(true))]).is_err());
        assert!(try_run(&Compress { axis: None }, &[data(), Some(Tensor::vector(vec![1u8]))]).is_err());
    }
}
