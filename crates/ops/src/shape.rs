//! `Shape`, `Size` (<https://onnx.ai/onnx/operators/onnx__Shape.html>). `start` and `end` came with opset 15.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::extents;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("Shape", 1, Shape::parse), OpEntry::onnx("Size", 1, |_| Ok(Arc::new(Size)))];

/// The extents of some of the axes, `[end - start]` int64. Input: any type.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The first axis; negative counts from the end, and what is beyond either end is clamped.
    pub start: i64,
    /// The axis behind the last one, likewise; all axes when left out.
    pub end: Option<i64>,
}

impl Shape {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Shape { start: def.int_or("start", 0)?, end: def.int("end")? }))
    }

    /// The axes that are reported, of `rank` ones.
    pub fn axes(&self, rank: usize) -> std::ops::Range<usize> {
        let clamp = |axis: i64| {
            let last = i64::try_from(rank).unwrap_or(i64::MAX);
            let axis = if axis < 0 { axis.saturating_add(last) } else { axis };
            axis.clamp(0, last) as usize
        };
        let start = clamp(self.start);
        start..self.end.map_or(rank, clamp).max(start)
    }
}

fn known(dims: &[SymDim]) -> Option<Vec<i64>> {
    dims.iter().map(|dim| i64::try_from(dim.known()?).ok()).collect()
}

impl Operator for Shape {
    fn key(&self) -> OpKey {
        OpKey::onnx("Shape")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let Some(dims) = inputs.shape(0)?.dims() else {
            return Ok(vec![Fact::tensor(DType::I64, ShapeFact::of_rank(1))]);
        };
        let dims = &dims[self.axes(dims.len())];
        Ok(vec![match known(dims) {
            Some(extents) => Fact::constant(Tensor::vector(extents)),
            None => Fact::tensor(DType::I64, [dims.len()]),
        }])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let shape = inputs.tensor(0)?.shape();
        let extents = shape[self.axes(shape.rank())].iter().map(|&extent| extent as i64).collect();
        Ok(vec![Tensor::vector::<i64>(extents).into()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

/// The number of elements, int64 without axes. Input: any type.
#[derive(Debug, Clone, PartialEq)]
pub struct Size;

impl Operator for Size {
    fn key(&self) -> OpKey {
        OpKey::onnx("Size")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let elements = inputs.shape(0)?.dims().map(extents::product);
        let elements = elements.and_then(|elements| i64::try_from(elements.known()?).ok());
        Ok(vec![match elements {
            Some(elements) => Fact::constant(Tensor::scalar(elements)),
            None => Fact::tensor(DType::I64, []),
        }])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![Tensor::scalar(inputs.tensor(0)?.len() as i64).into()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    #[test]
    fn start_and_end_are_clamped() {
        let cases: [(i64, Option<i64>, &[i64]); 7] = [
            (0, None, &[2, 3, 4]),
            (1, None, &[3, 4]),
            (-1, None, &[4]),
            (0, Some(-1), &[2, 3]),
            (-9, Some(9), &[2, 3, 4]),
            (2, Some(1), &[]),
            (i64::MIN, Some(i64::MAX), &[2, 3, 4]),
        ];
        for (start, end, expected) in cases {
            let data = Tensor::zeros(DType::Bool, [2, 3, 4]).unwrap();
            let out = run(&Shape { start, end }, &[data]).remove(0);
            assert_eq!(out.as_slice::<i64>().unwrap(), expected);
        }
    }

    #[test]
    fn values_are_known_where_the_extents_are() {
        let dims = vec![SymDim::Symbol("n".into()), SymDim::Known(3), SymDim::Known(4)];
        let data = Fact::tensor(DType::F32, dims);
        let whole = Shape { start: 0, end: None }.infer(Facts(&[Some(&data)])).unwrap().remove(0);
        assert_eq!((whole.value(), whole.concrete_shape()), (None, Some([3].into())));
        let part = Shape { start: 1, end: None }.infer(Facts(&[Some(&data)])).unwrap().remove(0);
        assert_eq!(part.value(), Some(&Tensor::vector(vec![3i64, 4])));
        assert_eq!(Size.infer(Facts(&[Some(&data)])).unwrap()[0].value(), None);
    }

    #[test]
    fn size_counts_elements() {
        assert_eq!(run(&Size, &[Tensor::zeros(DType::String, [2, 3]).unwrap()])[0], Tensor::scalar(6i64));
        assert_eq!(run(&Size, &[Tensor::scalar(1u8)])[0], Tensor::scalar(1i64));
        let empty = Fact::tensor(DType::F32, [usize::MAX, usize::MAX, 0]);
        assert_eq!(Size.infer(Facts(&[Some(&empty)])).unwrap()[0].value(), Some(&Tensor::scalar(0i64)));
    }
}
