//! `OneHot` of values of any size, with indices of int32, int64 or f32.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::one_hot::OneHot;
use inferrum_tensor::DType;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};

/// A new axis of `depth` places before the last `inner` indices.
struct Places {
    depth: usize,
    inner: usize,
    /// Bytes of a value.
    size: usize,
    indices: DType,
}

pub(crate) fn lower(op: &OneHot, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (indices, output) = (lowering.dtype(0)?, lowering.output_shape(0)?);
    if !matches!(indices, DType::I32 | DType::I64 | DType::F32) {
        return Err(Decline(format!("indices of {indices}")));
    }
    let axis = op.new_axis(lowering.shape(0)?.rank()).map_err(|error| Decline(error.to_string()))?;
    let (_, depth, inner) = output.split_at_axis(axis);
    let kernel = Places { depth, inner, size: lowering.output_dtype(0)?.size(), indices };
    Ok(Lowered::new("one hot", kernel))
}

impl NodeKernel for Places {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let indices = io.view(0).ok_or(OpError::MissingInput { index: 0 })?;
        let values = io.view(2).ok_or(OpError::MissingInput { index: 2 })?.bytes;
        let y = io.output_bytes(0)?;
        let group = self.depth * self.inner * self.size;
        if group == 0 || y.is_empty() {
            return Ok(());
        }
        let Some((off, on)) = values.split_at_checked(self.size).filter(|(_, on)| on.len() == self.size)
        else {
            return Err(OpError::Invalid("there are not two values".into()));
        };
        y.chunks_exact_mut(self.size).for_each(|y| y.copy_from_slice(off));
        let mut place = |position: usize, index: i64| {
            let index = if index < 0 { index.saturating_add(self.depth as i64) } else { index };
            let Some(index) = usize::try_from(index).ok().filter(|&index| index < self.depth) else { return };
            let (outer, column) = (position / self.inner, position % self.inner);
            let at = outer * group + (index * self.inner + column) * self.size;
            if let Some(y) = y.get_mut(at..at + self.size) {
                y.copy_from_slice(on);
            }
        };
        match self.indices {
            DType::I64 => indices.as_slice::<i64>()?.iter().enumerate().for_each(|(i, &x)| place(i, x)),
            DType::I32 => {
                indices.as_slice::<i32>()?.iter().enumerate().for_each(|(i, &x)| place(i, i64::from(x)));
            }
            _ => indices.as_slice::<f32>()?.iter().enumerate().for_each(|(i, &x)| place(i, x as i64)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::Tensor;

    #[test]
    fn every_axis_and_kind_of_index() {
        for dtype in [DType::I64, DType::I32, DType::F32] {
            for values in [
                Tensor::vector(vec![2f32, 7.0]),
                Tensor::vector(vec![0u8, 1]),
                Tensor::vector(vec![-1i64, 5]),
            ] {
                for shape in [&[3, 17][..], &[5], &[], &[0, 3], &[2, 3, 127]] {
                    for axis in [-1, 0, shape.len() as i64] {
                        let inputs = [
                            Some((random_of(dtype, shape, 1), false)),
                            Some((Tensor::scalar(6i64), true)),
                            Some((values.clone(), false)),
                        ];
                        agree_with(OneHot { axis }, &inputs, 1, Tolerance::EXACT);
                    }
                }
            }
        }
    }
}
