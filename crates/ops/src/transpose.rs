//! `Transpose` (<https://onnx.ai/onnx/operators/onnx__Transpose.html>). Later opsets only added element types.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Shape, Tensor, Value};

use crate::OpEntry;
use crate::index::{PerAxis, offsets, strides, take};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Transpose", 1, Transpose::parse)];

/// The axes in another order. Input and output: any type.
#[derive(Debug, Clone, PartialEq)]
pub struct Transpose {
    /// Which input axis each output axis is; all axes in reverse when left out.
    pub perm: Option<Vec<usize>>,
}

impl Transpose {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let perm = match def.ints("perm")? {
            Some(perm) if !perm.is_empty() => {
                let axes: Option<Vec<usize>> = perm.iter().map(|&axis| usize::try_from(axis).ok()).collect();
                Some(axes.ok_or_else(|| {
                    OpError::attribute("perm", "axes that are not negative", format!("{perm:?}"))
                })?)
            }
            _ => None,
        };
        Ok(Arc::new(Transpose { perm }))
    }

    /// Which input axis each of `rank` output axes is.
    ///
    /// # Errors
    /// `perm` does not name each axis once.
    pub fn permutation(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        let Some(perm) = &self.perm else { return Ok((0..rank).rev().collect()) };
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if sorted.iter().copied().eq(0..rank) {
            return Ok(perm.clone());
        }
        Err(OpError::attribute("perm", format!("each of the input's {rank} axes once"), format!("{perm:?}")))
    }
}

/// The elements of `source`, seen as `view`, with the axes in the order of `perm`, under the shape `out`.
///
/// # Errors
/// `out` holds another number of elements; memory.
pub(crate) fn permuted(source: &Tensor, view: &Shape, perm: &[usize], out: Shape) -> Result<Tensor, OpError> {
    let all = strides(view);
    let extents: PerAxis<usize> = perm.iter().map(|&axis| view[axis]).collect();
    let steps: PerAxis<isize> = perm.iter().map(|&axis| all[axis]).collect();
    take(source, out, offsets(&extents, &steps, 0))
}

impl Operator for Transpose {
    fn key(&self) -> OpKey {
        OpKey::onnx("Transpose")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = match (data.shape.dims(), &self.perm) {
            (Some(dims), _) => {
                self.permutation(dims.len())?.into_iter().map(|axis| dims[axis].clone()).collect()
            }
            (None, Some(perm)) => ShapeFact::of_rank(perm.len()),
            (None, None) => ShapeFact::unknown(),
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let perm = self.permutation(data.shape().rank())?;
        let out = perm.iter().map(|&axis| data.shape()[axis]).collect();
        Ok(vec![permuted(data, data.shape(), &perm, out)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run};
    use inferrum_graph::Attr;
    use inferrum_tensor::DType;

    #[test]
    fn axes_change_place() {
        let data = Tensor::from_vec([2, 1, 3], vec![1i8, 2, 3, 4, 5, 6]).unwrap();
        let reversed = run(&*parse_at(1, "Transpose", &[]), std::slice::from_ref(&data)).remove(0);
        assert_eq!(reversed, Tensor::from_vec([3, 1, 2], vec![1i8, 4, 2, 5, 3, 6]).unwrap());
        let op = parse_at(13, "Transpose", &[("perm", Attr::Ints(vec![2, 0, 1]))]);
        let turned = run(&*op, &[data]).remove(0);
        assert_eq!(turned, Tensor::from_vec([3, 2, 1], vec![1i8, 4, 2, 5, 3, 6]).unwrap());
    }

    #[test]
    fn scalars_and_empty_tensors_pass() {
        let op = Transpose { perm: None };
        assert_eq!(run(&op, &[Tensor::scalar(3u8)])[0], Tensor::scalar(3u8));
        let empty = Tensor::zeros(DType::String, [0, 5]).unwrap();
        assert_eq!(run(&op, &[empty])[0].shape().dims(), [5, 0]);
    }

    #[test]
    fn a_perm_that_is_none_is_an_error() {
        let fact = Fact::tensor(DType::F32, [2, 3]);
        for perm in [vec![0], vec![0, 0], vec![1, 2]] {
            assert!(Transpose { perm: Some(perm) }.infer(Facts(&[Some(&fact)])).is_err());
        }
    }
}
