//! Row-major matrix views over slices.

use crate::threads::Shared;
use std::marker::PhantomData;

/// A read-only row-major matrix: `rows` x `cols`, rows `stride` elements apart.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) stride: usize,
}

/// A mutable row-major matrix: `rows` x `cols`, rows `stride` elements apart. Elements between rows are not touched.
///
/// A pointer inside, not a slice: matrices whose rows interleave can be written at the same time.
#[derive(Debug)]
pub struct MatMut<'a> {
    pub(crate) data: *mut f32,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

/// Panics unless `len` elements hold the matrix and its rows do not overlap.
fn check(len: usize, rows: usize, cols: usize, stride: usize) {
    assert!(rows <= 1 || stride >= cols, "row stride {stride} is less than {cols} columns");
    if rows > 0 && cols > 0 {
        let end = (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(cols));
        let enough = end.is_some_and(|end| end <= len);
        assert!(enough, "{len} elements cannot hold {rows} x {cols} with row stride {stride}");
    }
}

impl<'a> MatRef<'a> {
    /// Dense rows. Panics if `data` is too short.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }
    /// Rows `stride` apart. Panics if `data` is too short or rows overlap.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        MatRef { data, rows, cols, stride }
    }
    /// The part from `row` and `col` on, `rows` x `cols`. Panics if it is not within the matrix.
    pub(crate) fn part(self, row: usize, rows: usize, col: usize, cols: usize) -> Self {
        assert!(row + rows <= self.rows && col + cols <= self.cols);
        // The last row may end with its last column, so that an empty part could start past the end.
        let start = (row * self.stride + col).min(self.data.len());
        MatRef { data: &self.data[start..], rows, cols, ..self }
    }
    /// A row.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> &'a [f32] {
        // An empty row may lie past the end.
        if self.cols == 0 { &[] } else { &self.data[i * self.stride..][..self.cols] }
    }
    /// Address of a row; of rows that do not exist, some address.
    pub(crate) fn base(&self, row: usize) -> *const f32 {
        self.data.as_ptr().wrapping_add(row.wrapping_mul(self.stride))
    }
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

impl<'a> MatMut<'a> {
    /// Dense rows. Panics if `data` is too short.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }
    /// Rows `stride` apart. Panics if `data` is too short or rows overlap.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        MatMut { data: data.as_mut_ptr(), rows, cols, stride, borrow: PhantomData }
    }
    /// A matrix at an address.
    ///
    /// # Safety
    /// For the lifetime `'a` the elements of the matrix (not those between its rows) must be writable, and nobody else's.
    pub(crate) unsafe fn from_raw(data: *mut f32, rows: usize, cols: usize, stride: usize) -> Self {
        MatMut { data, rows, cols, stride, borrow: PhantomData }
    }
    /// A row. Panics if it is not within the matrix.
    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows);
        // SAFETY: the row lies within the matrix, which is ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.stride), self.cols) }
    }
    /// The part from `row` and `col` on, `rows` x `cols`. Panics if it is not within the matrix.
    pub(crate) fn part(&mut self, row: usize, rows: usize, col: usize, cols: usize) -> MatMut<'_> {
        assert!(row + rows <= self.rows && col + cols <= self.cols);
        // Wrapping: an empty part may start past the end.
        let data = self.data.wrapping_add(row * self.stride + col);
        MatMut { data, rows, cols, stride: self.stride, borrow: PhantomData }
    }
    /// The matrix, to be divided among threads.
    pub(crate) fn shared(&mut self) -> SharedMat<'_> {
        SharedMat {
            data: Shared(self.data),
            rows: self.rows,
            cols: self.cols,
            stride: self.stride,
            borrow: PhantomData,
        }
    }
}

/// A mutable matrix that threads divide among themselves.
pub(crate) struct SharedMat<'a> {
    data: Shared<f32>,
    rows: usize,
    cols: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

impl SharedMat<'_> {
    /// The part from `row` and `col` on, `rows` x `cols`. Panics if it is not within the matrix.
    ///
    /// # Safety
    /// Parts that exist at the same time must not share elements.
    pub(crate) unsafe fn part(&self, row: usize, rows: usize, col: usize, cols: usize) -> MatMut<'_> {
        assert!(row + rows <= self.rows && col + cols <= self.cols);
        let data = self.data.get().wrapping_add(row * self.stride + col);
        MatMut { data, rows, cols, stride: self.stride, borrow: PhantomData }
    }
}
