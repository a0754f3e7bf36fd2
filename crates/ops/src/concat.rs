//! `Concat` (<https://onnx.ai/onnx/operators/onnx__Concat.html>). Before opset 4 the axis defaulted to 1.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::extents;
use crate::index::Canvas;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Concat", OpEntry::VARIADIC, Concat::parse)];

/// Tensors of one type one after the other along an axis; all other extents are the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

impl Concat {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let axis = match def.int("axis")? {
            Some(axis) => axis,
            None if def.opset < 4 => 1,
            None => return Err(OpError::attribute("axis", "an integer", "nothing")),
        };
        Ok(Arc::new(Concat { axis }))
    }

    /// The output's shape, as far as the inputs' shapes tell.
    ///
    /// # Errors
    /// The axis is out of range; ranks or other extents differ.
    pub fn output_shape(&self, shapes: &[&ShapeFact]) -> Result<ShapeFact, OpError> {
        let Some(rank) = shapes.iter().find_map(|shape| shape.rank()) else {
            return Ok(ShapeFact::unknown());
        };
        let axis = axis_attr(self.axis, rank)?;
        let along = |shape: &ShapeFact| shape.dim(axis);
        let mut common = ShapeFact::of_rank(rank);
        for (index, shape) in shapes.iter().enumerate() {
            let mut others = (*shape).clone();
            if let Some(dims) = shape.dims().filter(|dims| dims.len() == rank) {
                let mut dims = dims.to_vec();
                dims[axis] = SymDim::Unknown;
                others = dims.into();
            }
            common = common.merge(&others).ok_or_else(|| {
                OpError::shape(index, format!("{common} as the inputs before it (`?` is free)"), shape)
            })?;
        }
        let parts: Vec<SymDim> = shapes.iter().map(|shape| along(shape)).collect();
        let mut dims = common.dims().unwrap_or_default().to_vec();
        dims[axis] = extents::sum(&parts);
        Ok(dims.into())
    }
}

impl Operator for Concat {
    fn key(&self) -> OpKey {
        OpKey::onnx("Concat")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0)?;
        let mut shapes = Vec::with_capacity(inputs.len());
        for index in 0..inputs.len() {
            let input = inputs.tensor(index)?;
            if input.dtype != dtype {
                return Err(OpError::dtype(index, format!("{dtype} as the first input"), input.dtype));
            }
            shapes.push(&input.shape);
        }
        Ok(vec![Fact::tensor(dtype, self.output_shape(&shapes)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let first = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let (outer, extent, inner) = shape.split_at_axis(axis_attr(self.axis, shape.rank())?);
        let mut canvas = Canvas::zeros(first.dtype(), shape)?;
        let mut begin = 0;
        for index in 0..inputs.len() {
            let input = inputs.tensor(index)?;
            let run = input.len() / outer.max(1);
            // Without elements there may be astronomically many rows.
            for row in 0..if run == 0 { 0 } else { outer } {
                canvas.copy(row * extent * inner + begin, input, row * run, run)?;
            }
            begin += run;
        }
        Ok(vec![canvas.finish()?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    fn at(axis: i64) -> Arc<dyn Operator> {
        parse_at(13, "Concat", &[("axis", Attr::Int(axis))])
    }

    #[test]
    fn tensors_follow_each_other_along_the_axis() {
        let a = Tensor::from_vec([2, 1], vec![1i32, 2]).unwrap();
        let b = Tensor::from_vec([2, 2], vec![3i32, 4, 5, 6]).unwrap();
        let joined = run(&*at(-1), &[a.clone(), b, Tensor::zeros(DType::I32, [2, 0]).unwrap()]).remove(0);
        assert_eq!(joined, Tensor::from_vec([2, 3], vec![1i32, 3, 4, 2, 5, 6]).unwrap());
        let joined = run(&*at(0), &[a.clone(), a]).remove(0);
        assert_eq!(joined, Tensor::from_vec([4, 1], vec![1i32, 2, 1, 2]).unwrap());
    }

    #[test]
    fn strings_and_empty_outer_axes_pass() {
        let text = |s: &str| Tensor::from_strings([1], vec![s.into()]).unwrap();
        assert_eq!(run(&*at(0), &[text("a"), text("b")])[0].as_strings().unwrap(), ["a", "b"]);
        let empty = Tensor::zeros(DType::F32, [0, 3]).unwrap();
        assert_eq!(run(&*at(1), &[empty.clone(), empty])[0].shape().dims(), [0, 6]);
    }

    #[test]
    fn symbols_are_kept_and_contradictions_refused() {
        let op = Concat { axis: 1 };
        let n = SymDim::Symbol("n".into());
        let a = ShapeFact::from(vec![n.clone(), SymDim::Known(2)]);
        assert_eq!(op.output_shape(&[&a, &a]).unwrap(), vec![n.clone(), SymDim::Known(4)].into());
        let joined = op.output_shape(&[&a, &ShapeFact::unknown()]).unwrap();
        assert_eq!(joined, vec![n, SymDim::Unknown].into());
        assert!(op.output_shape(&[&[3, 1].into(), &[4, 1].into()]).is_err());
        assert!(op.output_shape(&[&[3, 1].into(), &[3].into()]).is_err());
        assert!(Concat { axis: 2 }.output_shape(&[&a]).is_err());
    }

    #[test]
    fn opset_1_joins_along_axis_1() {
        let mut def = NodeDef::new("Concat", 1, Default::default());
        assert!(crate::parse("", &mut def).unwrap().is_ok());
        let mut def = NodeDef::new("Concat", 4, Default::default());
        assert!(crate::parse("", &mut def).unwrap().is_err());
    }
}
