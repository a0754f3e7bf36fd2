//! Nested loops over several operands with strides: broadcasting, transposing and slicing all come to this.

use inferrum_backend::Decline;
use inferrum_tensor::Shape;
use smallvec::SmallVec;

/// Loops that are left after joining may be nested so deep.
pub(crate) const MAX_RANK: usize = 8;
/// Most operands of one nest of loops.
pub(crate) const MAX_OPERANDS: usize = 16;

/// Loops in row-major order over an index space, and for each operand how its offset moves along each of them.
///
/// Neighbouring loops that every operand walks as one are joined; loops of one iteration vanish. At least one is left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loops {
    dims: SmallVec<[usize; MAX_RANK]>,
    strides: SmallVec<[[isize; MAX_RANK]; 4]>,
}

impl Loops {
    /// Loops of the extents `dims`; `strides[operand][axis]` counts in elements and may be negative.
    ///
    /// # Errors
    /// Too many loops remain, or there are too many operands.
    pub(crate) fn new(dims: &[usize], strides: &[&[isize]]) -> Result<Loops, Decline> {
        if strides.len() > MAX_OPERANDS {
            return Err(Decline(format!("{} operands, the kernel takes {MAX_OPERANDS}", strides.len())));
        }
        // From the innermost outwards; `kept` is reversed in the end.
        let mut kept: Vec<(usize, Vec<isize>)> = Vec::with_capacity(dims.len());
        for axis in (0..dims.len()).rev().filter(|&axis| dims[axis] != 1) {
            let steps: Vec<isize> = strides.iter().map(|strides| strides[axis]).collect();
            match kept.last_mut() {
                Some((inner, inner_steps)) if joins(*inner, inner_steps, &steps) => {
                    *inner = inner.saturating_mul(dims[axis]);
                }
                _ => kept.push((dims[axis], steps)),
            }
        }
        if kept.is_empty() {
            kept.push((1, vec![0; strides.len()]));
        }
        if kept.len() > MAX_RANK {
            return Err(Decline(format!("{} nested loops remain, the kernel takes {MAX_RANK}", kept.len())));
        }
        let mut loops =
            Loops { dims: SmallVec::new(), strides: SmallVec::from_elem([0; MAX_RANK], strides.len()) };
        for (axis, (extent, steps)) in kept.into_iter().rev().enumerate() {
            loops.dims.push(extent);
            for (strides, step) in loops.strides.iter_mut().zip(steps) {
                strides[axis] = step;
            }
        }
        Ok(loops)
    }

    /// Loops over `output`, to which every operand of `shapes` broadcasts.
    ///
    /// # Errors
    /// As [`Loops::new`]; an operand does not broadcast.
    pub(crate) fn broadcast(output: &Shape, shapes: &[&Shape]) -> Result<Loops, Decline> {
        let strides = shapes
            .iter()
            .map(|shape| {
                broadcast_strides(output, shape)
                    .ok_or_else(|| Decline(format!("{shape} does not broadcast to {output}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Loops::new(output, &strides.iter().map(|s| &s[..]).collect::<Vec<_>>())
    }

    /// The extents, outermost first.
    pub(crate) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub(crate) fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Iterations of the innermost loop.
    pub(crate) fn inner(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }

    /// Strides of an operand along [`Loops::dims`].
    pub(crate) fn strides(&self, operand: usize) -> &[isize] {
        &self.strides[operand][..self.dims.len()]
    }

    /// The stride of an operand along the innermost loop.
    pub(crate) fn inner_stride(&self, operand: usize) -> isize {
        self.strides[operand][self.dims.len() - 1]
    }

    /// Whether the operand's elements are taken one after the other.
    pub(crate) fn is_dense(&self, operand: usize) -> bool {
        let mut expected = 1usize;
        self.dims.iter().zip(self.strides(operand)).rev().all(|(&extent, &stride)| {
            let fits = extent == 1 || usize::try_from(stride) == Ok(expected);
            expected = expected.saturating_mul(extent);
            fits
        })
    }

    /// Whether the operand is a single element.
    pub(crate) fn is_scalar(&self, operand: usize) -> bool {
        self.strides(operand).iter().all(|&stride| stride == 0)
    }

    /// The number of elements after which an operand starts over, if it never moves in the outer loops.
    pub(crate) fn period(&self, operand: usize) -> usize {
        let moving = self.strides(operand).iter().position(|&stride| stride != 0);
        moving.map_or(1, |axis| self.dims[axis..].iter().product())
    }
}

fn joins(inner: usize, inner_steps: &[isize], steps: &[isize]) -> bool {
    let inner = isize::try_from(inner).unwrap_or(isize::MAX);
    inner_steps.iter().zip(steps).all(|(&inner_step, &step)| inner_step.checked_mul(inner) == Some(step))
}

/// Strides of a dense tensor of `shape`.
pub(crate) fn dense_strides(shape: &Shape) -> SmallVec<[isize; 6]> {
    shape.strides().iter().map(|&stride| stride as isize).collect()
}

/// Strides of a dense tensor of `shape` along the axes of `output`, 0 where it repeats.
pub(crate) fn broadcast_strides(output: &Shape, shape: &Shape) -> Option<SmallVec<[isize; 6]>> {
    let lead = output.rank().checked_sub(shape.rank())?;
    let mut strides: SmallVec<[isize; 6]> = SmallVec::from_elem(0, lead);
    for ((&extent, &wanted), stride) in shape.iter().zip(&output[lead..]).zip(dense_strides(shape)) {
        if extent != wanted && extent != 1 {
            return None;
        }
        strides.push(if extent == 1 { 0 } else { stride });
    }
    Some(strides)
}

/// A place in the loops.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    loops: &'a Loops,
    index: [usize; MAX_RANK],
    /// Index in the innermost loop.
    column: usize,
    /// Each operand's offset at column 0.
    row: [isize; MAX_OPERANDS],
}

impl<'a> Cursor<'a> {
    /// The place of the element `position`, counted row-major.
    #[inline]
    pub(crate) fn new(loops: &'a Loops, position: usize) -> Cursor<'a> {
        let mut cursor = Cursor { loops, index: [0; MAX_RANK], column: 0, row: [0; MAX_OPERANDS] };
        if position == 0 {
            return cursor;
        }
        let inner = loops.inner().max(1);
        cursor.column = position % inner;
        let mut rest = position / inner;
        for axis in (0..loops.dims.len() - 1).rev() {
            if rest == 0 {
                break;
            }
            let extent = loops.dims[axis].max(1);
            cursor.index[axis] = rest % extent;
            rest /= extent;
            for (row, strides) in cursor.row.iter_mut().zip(&loops.strides) {
                *row += strides[axis] * cursor.index[axis] as isize;
            }
        }
        cursor
    }

    /// Elements from here to the end of the innermost loop.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.loops.inner() - self.column
    }

    /// An operand's offset here.
    #[inline]
    pub(crate) fn offset(&self, operand: usize) -> isize {
        self.row[operand] + self.column as isize * self.loops.inner_stride(operand)
    }

    /// Iterations of the innermost loop from here to the end of the loop around it; 0 within an iteration, or where there
    /// is no such loop.
    #[inline]
    pub(crate) fn rows_left(&self) -> usize {
        match self.loops.dims.len().checked_sub(2) {
            Some(axis) if self.column == 0 => self.loops.dims[axis] - self.index[axis],
            _ => 0,
        }
    }

    /// Goes on by `count` iterations of the innermost loop, at most [`Cursor::rows_left`] and at least one.
    #[inline]
    pub(crate) fn advance_rows(&mut self, count: usize) {
        let axis = self.loops.dims.len() - 2;
        self.index[axis] += count - 1;
        for (row, strides) in self.row.iter_mut().zip(&self.loops.strides) {
            *row += strides[axis] * (count - 1) as isize;
        }
        self.next_row();
    }

    /// Goes on by `count` elements, at most [`Cursor::left`].
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        self.column += count;
        if self.column >= self.loops.inner() {
            self.column = 0;
            self.next_row();
        }
    }

    #[inline]
    fn next_row(&mut self) {
        for axis in (0..self.loops.dims.len() - 1).rev() {
            self.index[axis] += 1;
            let back =
                if self.index[axis] == self.loops.dims[axis] { self.loops.dims[axis] as isize } else { 0 };
            for (row, strides) in self.row.iter_mut().zip(&self.loops.strides) {
                *row += strides[axis] - strides[axis] * back;
            }
            if back == 0 {
                return;
            }
            self.index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(loops: &Loops, operand: usize, start: usize) -> Vec<isize> {
        let mut cursor = Cursor::new(loops, start);
        (start..loops.elements())
            .map(|_| {
                let offset = cursor.offset(operand);
                cursor.advance(1);
                offset
            })
            .collect()
    }

    #[test]
    fn loops_walked_alike_are_joined() {
        let shape = Shape::from([2, 3, 4]);
        let loops = Loops::broadcast(&shape, &[&shape, &Shape::from([4]), &Shape::scalar()]).unwrap();
        assert_eq!(loops.dims(), [6, 4]);
        assert!(loops.is_dense(0) && !loops.is_dense(1) && loops.is_scalar(2));
        assert_eq!((loops.period(0), loops.period(1), loops.period(2)), (24, 4, 1));
        let loops = Loops::broadcast(&shape, &[&shape, &Shape::from([1, 1, 1])]).unwrap();
        assert_eq!(loops.dims(), [24]);
        assert_eq!(Loops::broadcast(&Shape::scalar(), &[&Shape::scalar()]).unwrap().dims(), [1]);
    }

    #[test]
    fn every_start_gives_the_same_walk() {
        let output = Shape::from([2, 3, 1, 2, 5]);
        let operands = [Shape::from([3, 1, 1, 5]), Shape::from([2, 1, 1, 2, 1]), Shape::from([2, 1])];
        let loops = Loops::broadcast(&output, &operands.iter().collect::<Vec<_>>()).unwrap();
        for (operand, shape) in operands.iter().enumerate() {
            let all = offsets(&loops, operand, 0);
            let strides = broadcast_strides(&output, shape).unwrap();
            for (position, &offset) in all.iter().enumerate() {
                let mut rest = position;
                let mut expected = 0;
                for axis in (0..output.rank()).rev() {
                    expected += (rest % output[axis]) as isize * strides[axis];
                    rest /= output[axis];
                }
                assert_eq!(offset, expected);
                assert_eq!(offsets(&loops, operand, position), all[position..]);
            }
        }
    }

    #[test]
    fn whole_rows_are_skipped() {
        let output = Shape::from([2, 3, 4, 5]);
        let loops =
            Loops::broadcast(&output, &[&Shape::from([3, 1, 5]), &Shape::from([2, 1, 4, 1])]).unwrap();
        for start in (0..loops.elements()).step_by(5) {
            let cursor = Cursor::new(&loops, start);
            for rows in 1..=cursor.rows_left() {
                let mut there = cursor.clone();
                there.advance_rows(rows);
                if start + rows * 5 < loops.elements() {
                    let expected = Cursor::new(&loops, start + rows * 5);
                    assert_eq!(
                        (0..2).map(|i| there.offset(i)).collect::<Vec<_>>(),
                        [expected.offset(0), expected.offset(1)]
                    );
                    assert_eq!(there.rows_left(), expected.rows_left());
                }
            }
        }
        assert_eq!(Cursor::new(&loops, 1).rows_left(), 0);
    }

    #[test]
    fn transposes_and_negative_strides_walk_too() {
        let loops = Loops::new(&[3, 2], &[&[1, 3], &[-2, 1]]).unwrap();
        assert_eq!(offsets(&loops, 0, 0), [0, 3, 1, 4, 2, 5]);
        assert_eq!(offsets(&loops, 1, 0), [0, 1, -2, -1, -4, -3]);
    }

    #[test]
    fn misfits_are_declined() {
        assert!(Loops::broadcast(&Shape::from([2]), &[&Shape::from([3])]).is_err());
        assert!(Loops::broadcast(&Shape::from([2]), &[&Shape::from([1, 2])]).is_err());
        let dims = [2; 9];
        assert!(Loops::new(&dims, &[&[1, 0, 1, 0, 1, 0, 1, 0, 1]]).is_err());
    }
}
