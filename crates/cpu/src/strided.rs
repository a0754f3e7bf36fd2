//! Walks over nested loops.

pub(crate) use inferrum_backend::{Loops, MAX_OPERANDS, MAX_RANK, dense_strides};

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
        for axis in (0..loops.dims().len() - 1).rev() {
            if rest == 0 {
                break;
            }
            let extent = loops.dims()[axis].max(1);
            cursor.index[axis] = rest % extent;
            rest /= extent;
            for (row, operand) in cursor.row.iter_mut().zip(0..loops.operands()) {
                *row += loops.strides(operand)[axis] * cursor.index[axis] as isize;
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
        match self.loops.dims().len().checked_sub(2) {
            Some(axis) if self.column == 0 => self.loops.dims()[axis] - self.index[axis],
            _ => 0,
        }
    }

    /// Goes on by `count` iterations of the innermost loop, at most [`Cursor::rows_left`] and at least one.
    #[inline]
    pub(crate) fn advance_rows(&mut self, count: usize) {
        let axis = self.loops.dims().len() - 2;
        self.index[axis] += count - 1;
        for (row, operand) in self.row.iter_mut().zip(0..self.loops.operands()) {
            *row += self.loops.strides(operand)[axis] * (count - 1) as isize;
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
        for axis in (0..self.loops.dims().len() - 1).rev() {
            self.index[axis] += 1;
            let back = if self.index[axis] == self.loops.dims()[axis] {
                self.loops.dims()[axis] as isize
            } else {
                0
            };
            for (row, operand) in self.row.iter_mut().zip(0..self.loops.operands()) {
                let stride = self.loops.strides(operand)[axis];
                *row += stride - stride * back;
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
    use inferrum_tensor::Shape;

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
    fn every_start_gives_the_same_walk() {
        let output = Shape::from([2, 3, 1, 2, 5]);
        let operands = [Shape::from([3, 1, 1, 5]), Shape::from([2, 1, 1, 2, 1]), Shape::from([2, 1])];
        let loops = Loops::broadcast(&output, &operands.iter().collect::<Vec<_>>()).unwrap();
        for (operand, shape) in operands.iter().enumerate() {
            let all = offsets(&loops, operand, 0);
            let strides = inferrum_backend::broadcast_strides(&output, shape).unwrap();
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
