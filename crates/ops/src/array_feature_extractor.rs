//! `ai.onnx.ml.ArrayFeatureExtractor`
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_ArrayFeatureExtractor.html>), one version only.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Value};

use crate::OpEntry;
use crate::extents::product;
use crate::index::take;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::ml("ArrayFeatureExtractor", 2, |_| Ok(Arc::new(ArrayFeatureExtractor)))];

/// Selects along the last axis. Inputs: data `[.., F]` of float32, float64, int64, int32 or string, places (int64, of
/// any shape); output: `[.., places]`, and `[1, places]` for data of one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayFeatureExtractor;

impl Operator for ArrayFeatureExtractor {
    fn key(&self) -> OpKey {
        OpKey::ml("ArrayFeatureExtractor")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (data, places) = (inputs.tensor(0)?, inputs.tensor(1)?);
        if !matches!(data.dtype, DType::F32 | DType::F64 | DType::I64 | DType::I32 | DType::String) {
            return Err(OpError::dtype(0, "float32, float64, int64, int32 or string", data.dtype));
        }
        if places.dtype != DType::I64 {
            return Err(OpError::dtype(1, "int64", places.dtype));
        }
        let count = places.shape.dims().map_or(SymDim::Unknown, product);
        let shape = match data.shape.dims() {
            None => ShapeFact::unknown(),
            Some([]) => return Err(OpError::shape(0, "[.., F]", &data.shape)),
            Some([_]) => vec![SymDim::Known(1), count].into(),
            Some([outer @ .., _]) => outer.iter().cloned().chain([count]).collect(),
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, places) = (inputs.tensor(0)?, inputs.ints(1)?);
        let Some((&extent, outer)) = data.shape().split_last() else {
            return Err(OpError::shape(0, "[.., F]", data.shape()));
        };
        let places: Vec<usize> = places
            .iter()
            .map(|&place| {
                let found = usize::try_from(place).ok().filter(|&found| found < extent);
                found.ok_or_else(|| {
                    OpError::value(1, format!("places are 0 or more and below {extent}, got {place}"))
                })
            })
            .collect::<Result<_, _>>()?;
        let rows = Shape::from(outer).elements();
        let mut shape = if outer.is_empty() { vec![1] } else { outer.to_vec() };
        shape.push(places.len());
        let positions = (0..rows).flat_map(|row| places.iter().map(move |place| row * extent + place));
        Ok(vec![take(data, shape, positions)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::try_run;
    use inferrum_tensor::Tensor;

    fn extract(data: Tensor, places: Tensor) -> Result<Tensor, OpError> {
        try_run(&ArrayFeatureExtractor, &[Some(data), Some(places)]).map(|mut outputs| outputs.remove(0))
    }

    #[test]
    fn places_are_taken_along_the_last_axis() {
        let data = Tensor::from_vec([2, 1, 3], (0..6).collect::<Vec<i32>>()).unwrap();
        let places = Tensor::from_vec([1, 2], vec![2i64, 0]).unwrap();
        assert_eq!(extract(data, places).unwrap(), Tensor::from_vec([2, 1, 2], vec![2, 0, 5, 3]).unwrap());
        let words = Tensor::from_strings([2], vec!["a".into(), "b".into()]).unwrap();
        let word = extract(words, Tensor::scalar(1i64)).unwrap();
        assert_eq!(
            (word.shape().dims(), word.as_strings().unwrap()),
            ([1, 1].as_slice(), ["b".to_owned()].as_slice())
        );
    }

    #[test]
    fn places_outside_are_errors() {
        for place in [3, -1, i64::MIN] {
            assert!(extract(Tensor::vector(vec![1f32; 3]), Tensor::vector(vec![place])).is_err());
        }
        assert!(extract(Tensor::scalar(1f32), Tensor::vector(vec![0i64])).is_err());
        let empty = extract(Tensor::zeros(DType::F32, [0, 3]).unwrap(), Tensor::vector(vec![0i64])).unwrap();
        assert_eq!(empty.shape().dims(), [0, 1]);
    }
}
