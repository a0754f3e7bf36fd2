//! `TensorScatter` (<https://onnx.ai/onnx/operators/onnx__TensorScatter.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::Value;

use crate::OpEntry;
use crate::axes::axis_attr;
use crate::index::Canvas;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("TensorScatter", 3, TensorScatter::parse)];

/// A key-value cache with new positions written into it. Inputs: cache `[B, *, S, *]` of any type; update, of the same shape
/// save that its sequence axis is at most as long; optionally write indices `[B]` int64, where each sample's update begins
/// (0 when left out). Output: the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorScatter {
    /// The sequence axis, which is not the first; negative counts from the end.
    pub axis: i64,
    /// Whether positions beyond the sequence's end begin anew, or are errors.
    pub circular: bool,
}

impl TensorScatter {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let circular = match def.string_or("mode", "linear")?.as_str() {
            "linear" => false,
            "circular" => true,
            other => return Err(OpError::attribute("mode", "linear or circular", other)),
        };
        Ok(Arc::new(TensorScatter { axis: def.int_or("axis", -2)?, circular }))
    }

    /// The sequence axis of a cache of `rank` axes.
    ///
    /// # Errors
    /// It is out of range, or the batch axis.
    pub fn sequence_axis(&self, rank: usize) -> Result<usize, OpError> {
        match axis_attr(self.axis, rank)? {
            0 => Err(OpError::attribute("axis", "an axis behind the batch", self.axis)),
            axis => Ok(axis),
        }
    }

    /// Where position `at` of an update that begins at `begin` is written, in a sequence of `extent`.
    fn place(&self, begin: i64, at: usize, extent: usize) -> Result<usize, OpError> {
        let (place, extent) = (i128::from(begin) + at as i128, extent as i128);
        let place = if self.circular && extent > 0 { place.rem_euclid(extent) } else { place };
        usize::try_from(place).ok().filter(|_| place < extent).ok_or_else(|| {
            OpError::value(2, format!("an update that begins at {begin} does not fit a sequence of {extent}"))
        })
    }
}

impl Operator for TensorScatter {
    fn key(&self) -> OpKey {
        OpKey::onnx("TensorScatter")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (cache, update) = (inputs.tensor(0)?, inputs.tensor(1)?);
        if cache.dtype != update.dtype {
            return Err(OpError::dtype(1, format!("{} as the cache", cache.dtype), update.dtype));
        }
        crate::index::check_indices(inputs, 2)?;
        let Some(dims) = cache.shape.dims() else { return Ok(vec![inputs.like(0)?]) };
        let axis = self.sequence_axis(dims.len())?;
        if let Some(new) = update.shape.dims() {
            let fits = |i: usize| match (dims[i].known(), new[i].known()) {
                (Some(whole), Some(part)) => {
                    if i == axis {
                        part <= whole
                    } else {
                        part == whole
                    }
                }
                _ => true,
            };
            if new.len() != dims.len() || !(0..dims.len()).all(fits) {
                let expected = format!("{} as the cache, or shorter at axis {axis}", cache.shape);
                return Err(OpError::shape(1, expected, &update.shape));
            }
        }
        if let Some(begins) = inputs.optional(2)?
            && begins.shape.merge(&vec![dims[0].clone()].into()).is_none()
        {
            return Err(OpError::shape(2, format!("[{}], one index a sample", dims[0]), &begins.shape));
        }
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (cache, update) = (inputs.tensor(0)?, inputs.tensor(1)?);
        if update.is_empty() {
            return Ok(vec![cache.clone().into()]);
        }
        let axis = self.sequence_axis(cache.shape().rank())?;
        let (outer, extent, inner) = cache.shape().split_at_axis(axis);
        let (length, batch) = (update.shape()[axis], cache.shape()[0]);
        let begins = inputs.optional_ints(2)?;
        let mut canvas = Canvas::copy_of(cache)?;
        for row in 0..outer {
            let sample = row / (outer / batch);
            let begin = begins.as_ref().and_then(|begins| begins.get(sample)).copied().unwrap_or(0);
            for at in 0..length {
                let place = row * extent + self.place(begin, at, extent)?;
                canvas.copy(place * inner, update, (row * length + at) * inner, inner)?;
            }
        }
        Ok(vec![canvas.finish()?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::Tensor;

    fn cache() -> Tensor {
        Tensor::from_vec([2, 3, 1], vec![0i8; 6]).unwrap()
    }

    fn update() -> Tensor {
        Tensor::from_vec([2, 2, 1], vec![1i8, 2, 3, 4]).unwrap()
    }

    #[test]
    fn updates_begin_where_each_sample_says() {
        let op = parse_at(24, "TensorScatter", &[]);
        assert_eq!(run(&*op, &[cache(), update()])[0].to_i64().unwrap(), [1, 2, 0, 3, 4, 0]);
        let out = run(&*op, &[cache(), update(), Tensor::vector(vec![1i64, 0])]).remove(0);
        assert_eq!(out.to_i64().unwrap(), [0, 1, 2, 3, 4, 0]);
        let circular = [("mode", Attr::String(b"circular".to_vec())), ("axis", Attr::Int(1))];
        let op = parse_at(24, "TensorScatter", &circular);
        let out = run(&*op, &[cache(), update(), Tensor::vector(vec![5i64, 1])]).remove(0);
        assert_eq!(out.to_i64().unwrap(), [2, 0, 1, 0, 3, 4]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let op = TensorScatter { axis: -2, circular: false };
        let begins = |x: [i64; 2]| Some(Tensor::vector(x.to_vec()));
        assert!(try_run(&op, &[Some(cache()), Some(update()), begins([2, 0])]).is_err());
        assert!(try_run(&op, &[Some(cache()), Some(update()), begins([-1, 0])]).is_err());
        assert!(try_run(&op, &[Some(update()), Some(cache())]).is_err());
        assert!(
            try_run(&TensorScatter { axis: 0, circular: false }, &[Some(cache()), Some(update())]).is_err()
        );
        assert!(try_run(&op, &[Some(cache()), Some(update()), Some(Tensor::vector(vec![0i64]))]).is_err());
    }
}
