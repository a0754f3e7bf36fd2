//! Cuts tensors along an axis and joins them again, for any element type.

use inferrum_graph::OpError;
use inferrum_tensor::{AlignedBytes, DType, Shape, Tensor, TensorError};

/// The part of `tensor` from `start` on, `len` long, along `axis`.
///
/// # Errors
/// The part lies outside the tensor; memory.
pub(crate) fn cut(tensor: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor, OpError> {
    let shape = tensor.shape();
    let extent = *shape.get(axis).ok_or_else(|| outside(tensor, axis))?;
    if start.checked_add(len).is_none_or(|end| end > extent) {
        return Err(outside(tensor, axis));
    }
    let (outer, _, inner) = shape.split_at_axis(axis);
    let mut part = shape.clone();
    part.dims_mut()[axis] = len;
    if part.elements() == 0 {
        return Ok(Tensor::zeros(tensor.dtype(), part)?);
    }
    if tensor.dtype() == DType::String {
        let rows = tensor.as_strings()?.chunks_exact(extent * inner);
        let strings = rows.flat_map(|row| &row[start * inner..(start + len) * inner]).cloned().collect();
        return Ok(Tensor::from_strings(part, strings)?);
    }
    let unit = inner * tensor.dtype().size();
    let mut bytes = AlignedBytes::zeroed(outer * len * unit)?;
    let rows = tensor.bytes().chunks_exact(extent * unit);
    for (row, copy) in rows.zip(bytes.as_mut().chunks_exact_mut(len * unit)) {
        copy.copy_from_slice(&row[start * unit..(start + len) * unit]);
    }
    Ok(Tensor::from_aligned(tensor.dtype(), part, bytes)?)
}

/// What stands at `index` along `axis`, without that axis.
///
/// # Errors
/// As [`cut`].
pub(crate) fn at(tensor: &Tensor, axis: usize, index: usize) -> Result<Tensor, OpError> {
    let part = cut(tensor, axis, index, 1)?;
    let dims = part.shape().iter().enumerate().filter(|&(i, _)| i != axis).map(|(_, &dim)| dim);
    let shape: Shape = dims.collect();
    Ok(part.reshape(shape)?)
}

/// The parts one after the other along `axis`.
///
/// # Errors
/// There is no part; types, ranks or other extents differ; memory.
pub(crate) fn join(parts: &[&Tensor], axis: usize) -> Result<Tensor, OpError> {
    let Some(first) = parts.first() else {
        return Err(OpError::Invalid("there is nothing to join: the sequence is empty".into()));
    };
    let mut shape = first.shape().clone();
    let mut extent = 0usize;
    for part in parts {
        extent = extent.saturating_add(*part.shape().get(axis).ok_or_else(|| outside(part, axis))?);
        let same = |i: usize| i == axis || part.shape()[i] == shape[i];
        if part.dtype() != first.dtype()
            || part.shape().rank() != shape.rank()
            || !(0..shape.rank()).all(same)
        {
            return Err(OpError::Invalid(format!(
                "{}[{}] and {}[{}] cannot be joined along axis {axis}",
                first.dtype(),
                first.shape(),
                part.dtype(),
                part.shape()
            )));
        }
    }
    shape.dims_mut()[axis] = extent;
    if shape.elements() == 0 {
        return Ok(Tensor::zeros(first.dtype(), shape)?);
    }
    let (outer, _, inner) = shape.split_at_axis(axis);
    if first.dtype() == DType::String {
        return join_strings(parts, shape, axis, outer, inner);
    }
    let unit = inner.saturating_mul(first.dtype().size());
    let mut bytes = AlignedBytes::zeroed(outer.saturating_mul(extent).saturating_mul(unit))?;
    let mut offset = 0;
    for part in parts {
        let len = part.shape()[axis] * unit;
        if len > 0 {
            let rows = bytes.as_mut().chunks_exact_mut(extent * unit);
            for (row, source) in rows.zip(part.bytes().chunks_exact(len)) {
                row[offset..offset + len].copy_from_slice(source);
            }
        }
        offset += len;
    }
    Ok(Tensor::from_aligned(first.dtype(), shape, bytes)?)
}

fn join_strings(
    parts: &[&Tensor],
    shape: Shape,
    axis: usize,
    outer: usize,
    inner: usize,
) -> Result<Tensor, OpError> {
    let mut strings = Vec::new();
    let bytes = shape.elements().saturating_mul(size_of::<String>());
    strings.try_reserve_exact(shape.elements()).map_err(|_| TensorError::OutOfMemory { bytes })?;
    for row in 0..outer {
        for part in parts {
            let len = part.shape()[axis] * inner;
            strings.extend_from_slice(&part.as_strings()?[row * len..(row + 1) * len]);
        }
    }
    Ok(Tensor::from_strings(shape, strings)?)
}

/// The parts, which are all of one shape, along a new axis.
///
/// # Errors
/// As [`join`]; `axis` is beyond the rank.
pub(crate) fn stack(parts: &[&Tensor], axis: usize) -> Result<Tensor, OpError> {
    let thick = parts
        .iter()
        .map(|part| {
            let mut dims = part.shape().to_vec();
            if axis > dims.len() {
                return Err(outside(part, axis));
            }
            dims.insert(axis, 1);
            Ok(part.reshape(dims)?)
        })
        .collect::<Result<Vec<Tensor>, OpError>>()?;
    join(&thick.iter().collect::<Vec<_>>(), axis)
}

fn outside(tensor: &Tensor, axis: usize) -> OpError {
    OpError::Invalid(format!(
        "axis {axis} or the range along it lies outside a tensor of shape {}",
        tensor.shape()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        Tensor::from_vec(shape, (0..n as i16).collect()).unwrap()
    }

    #[test]
    fn joining_the_cuts_gives_the_tensor_back() {
        let tensor = counting(&[3, 4, 5]);
        for (axis, extent) in [(0, 3), (1, 4), (2, 5)] {
            for middle in 0..=extent {
                let (a, b) = (cut(&tensor, axis, 0, middle), cut(&tensor, axis, middle, extent - middle));
                assert_eq!(join(&[&a.unwrap(), &b.unwrap()], axis).unwrap(), tensor);
            }
            let items: Vec<Tensor> = (0..extent).map(|i| at(&tensor, axis, i).unwrap()).collect();
            assert_eq!(stack(&items.iter().collect::<Vec<_>>(), axis).unwrap(), tensor);
        }
        assert_eq!(
            cut(&tensor, 1, 1, 2).unwrap().as_slice::<i16>().unwrap()[..11],
            [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 25]
        );
    }

    #[test]
    fn strings_are_joined_along_inner_axes() {
        let words =
            |w: &[&str]| Tensor::from_strings([2, 1], w.iter().map(|s| s.to_string()).collect()).unwrap();
        let joined = join(&[&words(&["a", "b"]), &words(&["c", "d"])], 1).unwrap();
        assert_eq!(joined.as_strings().unwrap(), ["a", "c", "b", "d"]);
        assert_eq!(at(&joined, 1, 1).unwrap().as_strings().unwrap(), ["c", "d"]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let tensor = counting(&[2, 3]);
        assert!(cut(&tensor, 1, 2, 2).is_err());
        assert!(cut(&tensor, 2, 0, 1).is_err());
        assert!(cut(&tensor, 0, usize::MAX, 2).is_err());
        assert!(join(&[], 0).is_err());
        assert!(join(&[&tensor, &counting(&[2, 4])], 0).is_err());
        assert!(join(&[&tensor, &counting(&[2, 3, 1])], 0).is_err());
        assert!(stack(&[&tensor], 3).is_err());
    }
}
