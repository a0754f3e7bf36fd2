//! Walks tensors: positions by strides, and elements of any type (strings too) gathered or written by position.

use inferrum_graph::{Facts, OpError};
use inferrum_tensor::{AlignedBytes, DType, Shape, Tensor, TensorError};
use smallvec::SmallVec;

/// One number for each axis.
pub(crate) type PerAxis<T> = SmallVec<[T; 6]>;

/// Elements from one index of each axis to the next in a dense tensor of `shape`, signed so that they can be negated.
pub(crate) fn strides(shape: &Shape) -> PerAxis<isize> {
    shape.strides().iter().map(|&stride| stride as isize).collect()
}

/// The positions `start + sum(index[i] * strides[i])` for every index below `extents`, the last axis fastest.
///
/// A position that does not fit wraps; whoever uses it checks it against the source (as [`take`] does).
pub(crate) fn offsets(extents: &[usize], strides: &[isize], start: usize) -> Offsets {
    debug_assert_eq!(extents.len(), strides.len());
    Offsets {
        left: Shape::from(extents).elements(),
        axes: extents
            .iter()
            .zip(strides)
            .map(|(&extent, &stride)| Axis { extent, stride, index: 0 })
            .collect(),
        offset: start as isize,
    }
}

/// See [`offsets`].
#[derive(Clone, Debug)]
pub(crate) struct Offsets {
    axes: PerAxis<Axis>,
    offset: isize,
    left: usize,
}

#[derive(Clone, Copy, Debug)]
struct Axis {
    extent: usize,
    stride: isize,
    index: usize,
}

impl Iterator for Offsets {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let offset = self.offset as usize;
        for axis in self.axes.iter_mut().rev() {
            axis.index += 1;
            self.offset = self.offset.wrapping_add(axis.stride);
            if axis.index < axis.extent {
                break;
            }
            self.offset = self.offset.wrapping_sub(axis.stride.wrapping_mul(axis.extent as isize));
            axis.index = 0;
        }
        Some(offset)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Offsets {}

/// A tensor of `shape` whose elements are those of `source` at `positions`, one for each element.
///
/// # Errors
/// A position beyond the source, another number of positions than elements; memory.
pub(crate) fn take(
    source: &Tensor,
    shape: impl Into<Shape>,
    positions: impl IntoIterator<Item = usize>,
) -> Result<Tensor, OpError> {
    take_or(source, shape, positions.into_iter().map(Some), None)
}

/// As [`take`]; where there is no position the element is the first of `fill`, or zero (false, the empty string).
///
/// # Errors
/// As [`take`]; `fill` is of another type or empty.
pub(crate) fn take_or(
    source: &Tensor,
    shape: impl Into<Shape>,
    positions: impl IntoIterator<Item = Option<usize>>,
    fill: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    let mut canvas = Canvas::zeros(source.dtype(), shape.into())?;
    let positions = positions.into_iter();
    match source.dtype().size() {
        0 => canvas.strings(source, positions, fill)?,
        1 => canvas.elements::<1>(source, positions, fill)?,
        2 => canvas.elements::<2>(source, positions, fill)?,
        4 => canvas.elements::<4>(source, positions, fill)?,
        8 => canvas.elements::<8>(source, positions, fill)?,
        _ => canvas.elements::<16>(source, positions, fill)?,
    }
    canvas.finish()
}

/// A tensor of `shape` made of runs of `run` neighbouring elements of `source`, each beginning at one of `starts`.
///
/// # Errors
/// As [`take`].
pub(crate) fn take_runs(
    source: &Tensor,
    shape: impl Into<Shape>,
    run: usize,
    starts: impl IntoIterator<Item = usize>,
) -> Result<Tensor, OpError> {
    let mut canvas = Canvas::zeros(source.dtype(), shape.into())?;
    let elements = canvas.shape.elements();
    if elements == 0 {
        // There may be astronomically many empty runs.
        return canvas.finish();
    }
    let mut filled = 0usize;
    for start in starts {
        canvas.copy(filled, source, start, run)?;
        filled = filled.saturating_add(run);
    }
    if filled == elements { canvas.finish() } else { Err(wrong_count(&canvas.shape)) }
}

/// A tensor that is being written, of any element type.
#[derive(Debug)]
pub(crate) struct Canvas {
    dtype: DType,
    shape: Shape,
    bytes: AlignedBytes,
    strings: Vec<String>,
}

impl Canvas {
    /// All elements zero (false, the empty string).
    ///
    /// # Errors
    /// Memory.
    pub(crate) fn zeros(dtype: DType, shape: Shape) -> Result<Canvas, OpError> {
        let bytes = AlignedBytes::zeroed(shape.elements().saturating_mul(dtype.size()))?;
        let strings = if dtype == DType::String {
            Tensor::zeros(dtype, shape.clone())?.as_strings()?.to_vec()
        } else {
            Vec::new()
        };
        Ok(Canvas { dtype, shape, bytes, strings })
    }

    /// The elements of `source`.
    ///
    /// # Errors
    /// Memory.
    pub(crate) fn copy_of(source: &Tensor) -> Result<Canvas, OpError> {
        let strings =
            if source.dtype() == DType::String { source.as_strings()?.to_vec() } else { Vec::new() };
        let bytes = AlignedBytes::copy_of(source.bytes())?;
        Ok(Canvas { dtype: source.dtype(), shape: source.shape().clone(), bytes, strings })
    }

    /// Writes the `len` elements of `source` from position `from` on, to position `to` and on.
    ///
    /// # Errors
    /// Another element type; either range is out of bounds.
    pub(crate) fn copy(
        &mut self,
        to: usize,
        source: &Tensor,
        from: usize,
        len: usize,
    ) -> Result<(), OpError> {
        self.check_type(source)?;
        let size = self.dtype.size().max(1);
        let range = |start: usize| start.saturating_mul(size)..start.saturating_add(len).saturating_mul(size);
        if self.dtype == DType::String {
            let strings = source.as_strings()?.get(range(from)).ok_or_else(|| beyond(from, source))?;
            let out = self.strings.get_mut(range(to)).ok_or_else(|| wrong_count(&self.shape))?;
            out.clone_from_slice(strings);
        } else {
            let bytes = source.bytes().get(range(from)).ok_or_else(|| beyond(from, source))?;
            let out = self.bytes.as_mut().get_mut(range(to)).ok_or_else(|| wrong_count(&self.shape))?;
            out.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// The tensor.
    ///
    /// # Errors
    /// Memory.
    pub(crate) fn finish(self) -> Result<Tensor, OpError> {
        Ok(if self.dtype == DType::String {
            Tensor::from_strings(self.shape, self.strings)?
        } else {
            Tensor::from_aligned(self.dtype, self.shape, self.bytes)?
        })
    }

    fn check_type(&self, source: &Tensor) -> Result<(), OpError> {
        if source.dtype() == self.dtype {
            return Ok(());
        }
        Err(TensorError::DType { expected: self.dtype.to_string(), got: source.dtype() }.into())
    }

    fn elements<const SIZE: usize>(
        &mut self,
        source: &Tensor,
        mut positions: impl Iterator<Item = Option<usize>>,
        fill: Option<&Tensor>,
    ) -> Result<(), OpError> {
        let fill = match fill {
            Some(fill) => {
                self.check_type(fill)?;
                *fill.bytes().as_chunks::<SIZE>().0.first().ok_or_else(|| beyond(0, fill))?
            }
            None => [0; SIZE],
        };
        let elements = source.bytes().as_chunks::<SIZE>().0;
        for out in self.bytes.as_mut().as_chunks_mut::<SIZE>().0 {
            *out = match positions.next().ok_or_else(|| wrong_count(&self.shape))? {
                Some(position) => *elements.get(position).ok_or_else(|| beyond(position, source))?,
                None => fill,
            };
        }
        if positions.next().is_none() { Ok(()) } else { Err(wrong_count(&self.shape)) }
    }

    fn strings(
        &mut self,
        source: &Tensor,
        mut positions: impl Iterator<Item = Option<usize>>,
        fill: Option<&Tensor>,
    ) -> Result<(), OpError> {
        let fill = match fill {
            Some(fill) => fill.as_strings()?.first().ok_or_else(|| beyond(0, fill))?.as_str(),
            None => "",
        };
        let elements = source.as_strings()?;
        for out in &mut self.strings {
            let element = match positions.next().ok_or_else(|| wrong_count(&self.shape))? {
                Some(position) => elements.get(position).ok_or_else(|| beyond(position, source))?,
                None => fill,
            };
            element.clone_into(out);
        }
        if positions.next().is_none() { Ok(()) } else { Err(wrong_count(&self.shape)) }
    }
}

/// Checks that input `index`, if it is given, holds indices: int32 or int64.
///
/// # Errors
/// [`OpError::DType`].
pub(crate) fn check_indices(inputs: Facts<'_>, index: usize) -> Result<(), OpError> {
    match inputs.optional(index)?.map(|tensor| tensor.dtype) {
        None | Some(DType::I32 | DType::I64) => Ok(()),
        Some(other) => Err(OpError::dtype(index, "int32 or int64", other)),
    }
}

/// Checks that input `index`, if it is given, is a list of indices: int32 or int64, of at most one axis.
///
/// # Errors
/// [`OpError::DType`], [`OpError::Shape`].
pub(crate) fn check_index_list(inputs: Facts<'_>, index: usize) -> Result<(), OpError> {
    check_indices(inputs, index)?;
    match inputs.optional(index)?.and_then(|tensor| tensor.shape.rank()) {
        Some(2..) => Err(OpError::shape(index, "[N]", inputs.describe(index))),
        _ => Ok(()),
    }
}

/// The sums of `part(axis, index)` over all axes, for every index below `extents`, the last axis fastest; `None` where
/// one of the parts is.
pub(crate) fn sums(
    extents: &[usize],
    part: impl Fn(usize, usize) -> Option<usize>,
) -> impl Iterator<Item = Option<usize>> {
    let mut index: PerAxis<usize> = SmallVec::from_elem(0, extents.len());
    // `partial[a]` is the sum over the axes before `a`.
    let mut partial: PerAxis<Option<usize>> = SmallVec::from_elem(Some(0), extents.len() + 1);
    let mut changed = 0;
    let add = |sum: Option<usize>, more: Option<usize>| Some(sum?.wrapping_add(more?));
    (0..Shape::from(extents).elements()).map(move |_| {
        for axis in changed..index.len() {
            partial[axis + 1] = add(partial[axis], part(axis, index[axis]));
        }
        changed = 0;
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < extents[axis] {
                changed = axis;
                break;
            }
            index[axis] = 0;
        }
        partial[index.len()]
    })
}

fn beyond(position: usize, source: &Tensor) -> OpError {
    OpError::Invalid(format!("position {position} is beyond the {} elements of a {source:?}", source.len()))
}

fn wrong_count(shape: &Shape) -> OpError {
    OpError::Invalid(format!("the elements gathered are not as many as a tensor of shape {shape} holds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_walk_row_major_with_any_stride() {
        let walk = |extents: &[usize], strides: &[isize], start| {
            offsets(extents, strides, start).collect::<Vec<_>>()
        };
        assert_eq!(walk(&[2, 3], &[1, 2], 0), [0, 2, 4, 1, 3, 5]);
        assert_eq!(walk(&[2, 2], &[-3, 0], 5), [5, 5, 2, 2]);
        assert_eq!(walk(&[], &[], 4), [4]);
        assert_eq!(walk(&[3, 0], &[1, 1], 0), [0; 0]);
        assert_eq!(strides(&Shape::from([2, 3, 4])).as_slice(), [12, 4, 1]);
    }

    #[test]
    fn sums_are_none_where_a_part_is() {
        let walk = sums(&[2, 3], |axis, i| if axis == 0 { Some(i * 10) } else { (i != 1).then_some(i) });
        let expected = [Some(0), None, Some(2), Some(10), None, Some(12)];
        assert_eq!(walk.collect::<Vec<_>>(), expected);
        assert_eq!(sums(&[], |_, _| None).collect::<Vec<_>>(), [Some(0)]);
        assert_eq!(sums(&[2, 0], |_, _| None).count(), 0);
    }

    #[test]
    fn every_element_size_and_strings_are_taken() {
        for &dtype in DType::ALL.iter().filter(|d| !matches!(d, DType::String | DType::Bool)) {
            let bytes: Vec<u8> = (0..3 * dtype.size()).map(|i| i as u8).collect();
            let source = Tensor::from_bytes(dtype, [3], bytes).unwrap();
            let taken = take(&source, [2, 2], [2, 0, 1, 2]).unwrap();
            let again = take_runs(&taken, [3], 1, [1, 2, 3]).unwrap();
            assert_eq!(again, source, "{dtype}");
        }
        let text = Tensor::from_strings([2], vec!["a".into(), "b".into()]).unwrap();
        let taken = take_or(&text, [3], [Some(1), None, Some(0)], None).unwrap();
        assert_eq!(taken.as_strings().unwrap(), ["b", "", "a"]);
    }

    #[test]
    fn fill_stands_where_there_is_no_position() {
        let source = Tensor::vector(vec![1i32, 2]);
        let filled = take_or(&source, [3], [None, Some(1), None], Some(&Tensor::scalar(7i32))).unwrap();
        assert_eq!(filled.as_slice::<i32>().unwrap(), [7, 2, 7]);
        assert!(take_or(&source, [1], [None], Some(&Tensor::scalar(7f32))).is_err());
        assert!(take_or(&source, [1], [None], Some(&Tensor::vector(Vec::<i32>::new()))).is_err());
    }

    #[test]
    fn positions_out_of_range_and_wrong_counts_are_errors() {
        let source = Tensor::vector(vec![1i32, 2]);
        assert!(take(&source, [1], [2]).is_err());
        assert!(take(&source, [2], [0]).is_err());
        assert!(take(&source, [1], [0, 0]).is_err());
        assert!(take_runs(&source, [2], 2, [1]).is_err());
        assert!(take_runs(&source, [4], 2, [0]).is_err());
        let mut canvas = Canvas::copy_of(&source).unwrap();
        assert!(canvas.copy(1, &source, 0, 2).is_err());
        assert!(canvas.copy(usize::MAX, &source, 0, 1).is_err());
        canvas.copy(0, &source, 1, 1).unwrap();
        assert_eq!(canvas.finish().unwrap().as_slice::<i32>().unwrap(), [2, 2]);
    }
}
