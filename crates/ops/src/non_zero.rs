//! `NonZero` (<https://onnx.ai/onnx/operators/onnx__NonZero.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Real, Tensor, Value, dispatch, zeroed};

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("NonZero", 1, NonZero::parse)];

/// The places of the elements that are not zero (false, the empty string), row-major. Input: any type. Output: `[rank, N]`
/// int64, one column for each place.
#[derive(Debug, Clone, PartialEq)]
pub struct NonZero;

impl NonZero {
    fn parse(_def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(NonZero))
    }
}

/// The positions of the elements that are not zero.
fn positions(tensor: &Tensor) -> Result<Vec<usize>, OpError> {
    fn select<T>(elements: &[T], is_set: impl Fn(&T) -> bool) -> Vec<usize> {
        elements.iter().enumerate().filter(|(_, element)| is_set(element)).map(|(i, _)| i).collect()
    }
    Ok(match tensor.dtype() {
        DType::String => select(tensor.as_strings()?, |text| !text.is_empty()),
        DType::Complex64 => select(tensor.as_slice::<[f32; 2]>()?, |z| z.iter().any(|&x| x != 0.0)),
        DType::Complex128 => select(tensor.as_slice::<[f64; 2]>()?, |z| z.iter().any(|&x| x != 0.0)),
        dtype => dispatch!(real, dtype, T => select(tensor.as_slice::<T>()?, |&x| Real::to_f64(x) != 0.0),
            else Vec::new()),
    })
}

impl Operator for NonZero {
    fn key(&self) -> OpKey {
        OpKey::onnx("NonZero")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let rank = inputs.shape(0)?.rank().map_or(SymDim::Unknown, SymDim::Known);
        Ok(vec![Fact::tensor(DType::I64, ShapeFact::from(vec![rank, SymDim::Unknown]))])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let (found, rank) = (positions(tensor)?, tensor.shape().rank());
        let mut places = zeroed::<i64>(found.len().saturating_mul(rank))?;
        for (axis, (&extent, stride)) in tensor.shape().iter().zip(tensor.shape().strides()).enumerate() {
            for (i, position) in found.iter().enumerate() {
                places[axis * found.len() + i] = (position / stride % extent) as i64;
            }
        }
        Ok(vec![Tensor::from_vec([rank, found.len()], places)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    #[test]
    fn places_are_columns() {
        let data = Tensor::from_vec([2, 2], vec![1f32, -0.0, f32::NAN, 1.0]).unwrap();
        let out = run(&NonZero, &[data]).remove(0);
        assert_eq!(out, Tensor::from_vec([2, 3], vec![0i64, 1, 1, 0, 0, 1]).unwrap());
        let text = Tensor::from_strings([2], vec![String::new(), "a".into()]).unwrap();
        assert_eq!(run(&NonZero, &[text])[0], Tensor::from_vec([1, 1], vec![1i64]).unwrap());
        let complex = Tensor::from_vec([2], vec![[0f32, 0.0], [0.0, 1.0]]).unwrap();
        assert_eq!(run(&NonZero, &[complex])[0], Tensor::from_vec([1, 1], vec![1i64]).unwrap());
    }

    #[test]
    fn scalars_and_empty_tensors_pass() {
        assert_eq!(run(&NonZero, &[Tensor::scalar(true)])[0].shape().dims(), [0, 1]);
        assert_eq!(run(&NonZero, &[Tensor::scalar(0i64)])[0].shape().dims(), [0, 0]);
        assert_eq!(run(&NonZero, &[Tensor::zeros(DType::U8, [3, 0]).unwrap()])[0].shape().dims(), [2, 0]);
        assert_eq!(run(&NonZero, &[Tensor::zeros(DType::U8, [3, 1]).unwrap()])[0].shape().dims(), [2, 0]);
    }
}
