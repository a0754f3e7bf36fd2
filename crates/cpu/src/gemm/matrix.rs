//! Row-major matrix views over slices.

/// A read-only row-major matrix: `rows` x `cols`, rows `stride` elements apart.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) stride: usize,
}

/// A mutable row-major matrix: `rows` x `cols`, rows `stride` elements apart. Elements between rows are not touched.
#[derive(Debug)]
pub struct MatMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) stride: usize,
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
    /// `rows` rows from row `first` on. Panics if there are fewer.
    pub(crate) fn from_row(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows);
        // Rows past the last column of the last row may be missing from `data`.
        let start = (first * self.stride).min(self.data.len());
        MatRef { data: &self.data[start..], rows, ..self }
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
        MatMut { data, rows, cols, stride }
    }
}
