//! `TopK` along any axis, by partial selection of keys that hold an element and its index.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::top_k::TopK;
use inferrum_tensor::{DType, f16};

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::threads::Shared;

/// `outer` times `extent` rows of `inner` elements; the best `k` of each column of `extent`.
struct Selected {
    extent: usize,
    inner: usize,
    k: usize,
    columns: usize,
    largest: bool,
    dtype: DType,
    /// Columns of keys that the scratch memory holds.
    lanes: usize,
}

/// Most columns that are worked on at once.
const LANES: usize = 16;

pub(crate) fn lower(op: &TopK, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (shape, dtype) = (lowering.shape(0)?, lowering.dtype(0)?);
    if !matches!(dtype, DType::F32 | DType::I32 | DType::F16 | DType::U8 | DType::I8) {
        return Err(Decline(format!("{dtype}")));
    }
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let k = TopK::count(&lowering.ints(1)?, Some(extent)).map_err(|error| Decline(error.to_string()))?;
    if u32::try_from(extent).is_err() {
        return Err(Decline(format!("an axis of {extent}")));
    }
    let columns = outer * inner;
    let lanes = LANES.min(columns);
    let kernel = Selected { extent, inner, k, columns, largest: op.largest, dtype, lanes };
    Ok(Lowered::new("top k", kernel).packed(&[1]).scratch(lanes * extent * size_of::<u64>()))
}

impl NodeKernel for Selected {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x = io.view(0).ok_or(OpError::MissingInput { index: 0 })?;
        let mut values = io.outputs.get_mut(0).and_then(Option::take).map(|output| output.bytes);
        let mut indices = io.optional_output::<i64>(1)?;
        let size = self.dtype.size();
        let outputs = self.columns * self.k;
        let misfit = || OpError::Invalid("a buffer does not fit its shape".into());
        let keys: &mut [u64] = io.scratch()?;
        if x.bytes.len() != self.columns * self.extent * size
            || values.as_ref().is_some_and(|values| values.len() != outputs * size)
            || indices.as_ref().is_some_and(|indices| indices.len() != outputs)
            || keys.len() < self.lanes * self.extent
        {
            return Err(misfit());
        }
        if outputs == 0 {
            return Ok(());
        }
        let target = Target {
            values: values.as_mut().map(|values| Shared(values.as_mut_ptr())),
            indices: indices.as_mut().map(|indices| Shared(indices.as_mut_ptr())),
        };
        io.threads.par_chunks_mut(&mut keys[..self.lanes * self.extent], self.extent, |lane, keys| {
            for column in (lane..self.columns).step_by(self.lanes) {
                self.column(column, x.bytes, keys, &target);
            }
        });
        Ok(())
    }
}

struct Target {
    values: Option<Shared<u8>>,
    indices: Option<Shared<i64>>,
}

impl Selected {
    fn column(&self, column: usize, x: &[u8], keys: &mut [u64], target: &Target) {
        let (row, within) = (column / self.inner, column % self.inner);
        let at = |i: usize| (row * self.extent + i) * self.inner + within;
        match self.dtype {
            DType::F32 => self.fill(keys, at, x, |x| float_key(f32::from_ne_bytes(x))),
            DType::F16 => self.fill(keys, at, x, |x| float_key(f16::from_ne_bytes(x).to_f32())),
            DType::I32 => self.fill(keys, at, x, |x| (i32::from_ne_bytes(x) as u32) ^ (1 << 31)),
            DType::U8 => self.fill(keys, at, x, |[x]: [u8; 1]| u32::from(x)),
            _ => self.fill(keys, at, x, |[x]: [u8; 1]| u32::from(x ^ 0x80)),
        }
        if self.k < keys.len() {
            keys.select_nth_unstable(self.k);
        }
        let best = &mut keys[..self.k];
        best.sort_unstable();
        let size = self.dtype.size();
        for (i, key) in best.iter().enumerate() {
            let index = (*key as u32) as usize;
            let out = (row * self.k + i) * self.inner + within;
            // SAFETY: `run` has checked the sizes; each column writes elements of its own.
            unsafe {
                if let Some(values) = target.values {
                    let from = x.as_ptr().add(at(index) * size);
                    std::ptr::copy_nonoverlapping(from, values.get().add(out * size), size);
                }
                if let Some(indices) = target.indices {
                    *indices.get().add(out) = index as i64;
                }
            }
        }
    }

    /// Writes keys that rise from the best element to the worst, and among equals by their index.
    #[inline(always)]
    fn fill<const N: usize>(
        &self,
        keys: &mut [u64],
        at: impl Fn(usize) -> usize,
        x: &[u8],
        key: impl Fn([u8; N]) -> u32,
    ) {
        let x = x.as_chunks::<N>().0;
        let flip = if self.largest { u32::MAX } else { 0 };
        for (i, out) in keys.iter_mut().enumerate() {
            *out = u64::from(key(x[at(i)]) ^ flip) << 32 | i as u64;
        }
    }
}

/// A number that rises with `x`; NaN is the largest, and zeros are equal.
#[inline(always)]
fn float_key(x: f32) -> u32 {
    if x.is_nan() {
        return u32::MAX;
    }
    // Adding 0 makes -0 into 0.
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random_of};
    use inferrum_tensor::Tensor;

    fn check(data: Tensor, k: i64, axis: i64, outputs: usize) {
        for largest in [true, false] {
            let op = TopK { axis, largest, sorted: true };
            let inputs = [Some((data.clone(), false)), Some((Tensor::vector(vec![k]), true))];
            agree_with(op, &inputs, outputs, Tolerance::EXACT);
        }
    }

    #[test]
    fn every_type_along_every_axis() {
        for dtype in [DType::F32, DType::F16, DType::I32, DType::U8, DType::I8] {
            for (shape, axis, k) in [
                (&[17][..], 0, 5),
                (&[17], 0, 17),
                (&[17], 0, 0),
                (&[3, 1000], -1, 10),
                (&[40, 5], 0, 7),
                (&[2, 30, 20], 1, 3),
                (&[50, 9], 1, 1),
                (&[0, 9], 1, 2),
            ] {
                check(random_of(dtype, shape, 3), k, axis, 2);
                check(random_of(dtype, shape, 3), k, axis, 1);
            }
        }
    }

    #[test]
    fn nan_is_largest_and_equals_keep_their_order() {
        let values = vec![0.0, f32::NAN, -0.0, f32::INFINITY, 1.0, 1.0, f32::NEG_INFINITY, f32::NAN, -1.0];
        for k in [1, 4, 9] {
            check(Tensor::vector(values.clone()), k, 0, 2);
        }
    }
}
