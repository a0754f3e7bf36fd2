//! `Split` (<https://onnx.ai/onnx/operators/onnx__Split.html>).
//!
//! Before opset 13 the sizes were an attribute; since opset 18 equal parts are asked for with `num_outputs`, and the last
//! one may be smaller.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::index::take_runs;

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("Split", 2, Split::parse).before(&[(2, 2), (13, 1)])];

/// A tensor cut along an axis. Inputs: data of any type; optionally the parts' sizes, `[outputs]` int64. Without sizes the
/// parts are equal, save that the last ones may be smaller.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Number of parts.
    pub outputs: usize,
}

impl Split {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        def.lift_ints("split", 1)?;
        let outputs = match def.int("num_outputs")? {
            None => def.outputs.len(),
            Some(count) => {
                usize::try_from(count).ok().filter(|&count| count == def.outputs.len()).ok_or_else(|| {
                    OpError::attribute(
                        "num_outputs",
                        format!("{}, the node's outputs", def.outputs.len()),
                        count,
                    )
                })?
            }
        };
        Ok(Arc::new(Split { axis: def.int_or("axis", 0)?, outputs }))
    }

    /// The parts' sizes along an axis of `extent`.
    ///
    /// # Errors
    /// The sizes asked for are not as many as the outputs, negative, or do not add up.
    pub fn sizes(&self, extent: usize, asked: Option<&[i64]>) -> Result<Vec<usize>, OpError> {
        let Some(asked) = asked else {
            let chunk = extent.div_ceil(self.outputs.max(1));
            let begins = (0..self.outputs).map(|part| part.saturating_mul(chunk).min(extent));
            return Ok(begins.map(|begin| chunk.min(extent - begin)).collect());
        };
        let sizes: Option<Vec<usize>> = asked.iter().map(|&size| usize::try_from(size).ok()).collect();
        sizes
            .filter(|sizes| sizes.len() == self.outputs)
            .filter(|sizes| sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size)) == extent)
            .ok_or_else(|| {
                let parts = self.outputs;
                OpError::value(1, format!("expected {parts} sizes that add up to {extent}, got {asked:?}"))
            })
    }
}

impl Operator for Split {
    fn key(&self) -> OpKey {
        OpKey::onnx("Split")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let Some(dims) = data.shape.dims() else { return Ok(vec![Fact::of_dtype(data.dtype); self.outputs]) };
        let axis = axis_attr(self.axis, dims.len())?;
        let asked = inputs.ints(1)?;
        let sizes: Vec<SymDim> = match (dims[axis].known(), &asked) {
            (_, None) if inputs.has(1) => vec![SymDim::Unknown; self.outputs],
            (Some(extent), _) => {
                self.sizes(extent, asked.as_deref())?.into_iter().map(SymDim::Known).collect()
            }
            (None, Some(asked)) => {
                let total = asked.iter().fold(0i64, |sum, &size| sum.saturating_add(size));
                let total = usize::try_from(total).unwrap_or(usize::MAX);
                self.sizes(total, Some(asked))?.into_iter().map(SymDim::Known).collect()
            }
            (None, None) if self.outputs == 1 => vec![dims[axis].clone()],
            (None, None) => vec![SymDim::Unknown; self.outputs],
        };
        let fact = |size: SymDim| {
            let mut dims = dims.to_vec();
            dims[axis] = size;
            Fact::tensor(data.dtype, ShapeFact::from(dims))
        };
        Ok(sizes.into_iter().map(fact).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let axis = axis_attr(self.axis, data.shape().rank())?;
        let (outer, extent, inner) = data.shape().split_at_axis(axis);
        let sizes = self.sizes(extent, inputs.optional_ints(1)?.as_deref())?;
        let mut begin = 0;
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            let mut shape = data.shape().clone();
            shape.dims_mut()[axis] = size;
            let starts = (0..outer).map(|row| (row * extent + begin) * inner);
            parts.push(take_runs(data, shape, size.saturating_mul(inner), starts)?.into());
            begin += size;
        }
        Ok(parts)
    }

    fn value_inputs(&self) -> &[usize] {
        &[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Tensor};

    #[test]
    fn parts_are_equal_or_as_asked() {
        let split = Split { axis: 0, outputs: 4 };
        assert_eq!(split.sizes(7, None).unwrap(), [2, 2, 2, 1]);
        assert_eq!(split.sizes(5, None).unwrap(), [2, 2, 1, 0]);
        assert_eq!(split.sizes(0, None).unwrap(), [0; 4]);
        assert_eq!(split.sizes(3, Some(&[1, 0, 2, 0])).unwrap(), [1, 0, 2, 0]);
        for wrong in [&[3][..], &[1, 1, 1, 1], &[4, -1, 0, 0], &[i64::MAX, i64::MAX, 2, 3]] {
            assert!(split.sizes(3, Some(wrong)).is_err());
        }
    }

    #[test]
    fn a_tensor_is_cut_along_the_axis() {
        let data = Tensor::from_vec([2, 3], vec![1u8, 2, 3, 4, 5, 6]).unwrap();
        let parts = run(&Split { axis: -1, outputs: 2 }, std::slice::from_ref(&data));
        assert_eq!(parts[0], Tensor::from_vec([2, 2], vec![1u8, 2, 4, 5]).unwrap());
        assert_eq!(parts[1], Tensor::from_vec([2, 1], vec![3u8, 6]).unwrap());
        let parts = run(&Split { axis: 1, outputs: 2 }, &[data.clone(), Tensor::vector(vec![0i64, 3])]);
        assert_eq!((parts[0].shape().dims(), &parts[1]), (&[2, 0][..], &data));
        assert!(try_run(&Split { axis: 2, outputs: 2 }, &[Some(data)]).is_err());
    }

    #[test]
    fn old_sizes_become_an_input_and_num_outputs_must_agree() {
        let attrs = [("split".to_owned(), Attr::Ints(vec![1, 2]))].into();
        let mut def = NodeDef::new("Split", 11, attrs);
        def.outputs = vec![true, true];
        crate::parse("", &mut def).unwrap().unwrap();
        assert_eq!(def.finish().unwrap(), [(1, Tensor::vector(vec![1i64, 2]))]);
        let mut def = NodeDef::new("Split", 18, [("num_outputs".to_owned(), Attr::Int(3))].into());
        def.outputs = vec![true, true];
        assert!(crate::parse("", &mut def).unwrap().is_err());
    }

    #[test]
    fn symbolic_extents_are_kept() {
        let dims = vec![SymDim::Symbol("n".into()), SymDim::Known(4)];
        let fact = Fact::tensor(DType::F32, dims.clone());
        let facts = Split { axis: 1, outputs: 2 }.infer(Facts(&[Some(&fact)])).unwrap();
        assert_eq!(facts[0].as_tensor().unwrap().shape, vec![dims[0].clone(), SymDim::Known(2)].into());
        let facts = Split { axis: 0, outputs: 2 }.infer(Facts(&[Some(&fact)])).unwrap();
        assert_eq!(facts[1].as_tensor().unwrap().shape, vec![SymDim::Unknown, SymDim::Known(4)].into());
    }
}
