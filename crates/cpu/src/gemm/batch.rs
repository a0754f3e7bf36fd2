//! Many products of one shape, as in attention.

use super::epilogue::Epilogue;
use super::matmul;
use super::matrix::{MatMut, MatRef};
use super::pack::Unpacked;
use crate::simd::Isa;
use crate::threads::{Shared, Threads};

/// A slice that holds the matrices of a batch, all with the same row stride.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Distance of the rows of each matrix.
    pub stride: usize,
}

/// Where the matrices of one product start, in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Item {
    /// Start of A.
    pub a: usize,
    /// Start of B.
    pub b: usize,
    /// Start of C.
    pub c: usize,
}

/// Products of one shape.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Holds all A.
    pub a: Operand<'a>,
    /// Holds all B.
    pub b: Operand<'a>,
    /// Distance of the rows of each C.
    pub c_stride: usize,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Whether B is stored N x K.
    pub b_transposed: bool,
    /// The products. They may share A and B (broadcasting), but not elements of C.
    pub items: &'a [Item],
}

/// Computes `C = epilogue(A B)` for all items of the batch, all C being in `c`; all have the same bias, and a residual must
/// be in `c` already. Panics if a matrix is out of bounds or two C overlap.
pub fn matmul_batch(isa: Isa, threads: &Threads, batch: &Batch, c: &mut [f32], epilogue: &Epilogue) {
    let &Batch { a, b, c_stride, m, n, k, b_transposed, items } = batch;
    assert!(epilogue.residual.is_none(), "a batch takes no residual but what is in C");
    if m == 0 || n == 0 {
        return;
    }
    check_disjoint(batch);
    let len = c.len();
    let c = Shared(c.as_mut_ptr());
    let one = |threads: &Threads, item: &Item| {
        let a = MatRef::strided(&a.data[item.a..], m, k, a.stride);
        let b = if b_transposed {
            Unpacked::Transposed(MatRef::strided(&b.data[item.b..], n, k, b.stride))
        } else {
            Unpacked::Normal(MatRef::strided(&b.data[item.b..], k, n, b.stride))
        };
        let end = item.c + (m - 1) * c_stride + n;
        assert!(end <= len, "C ends at {end}, past {len}");
        // SAFETY: in bounds by the assertion, of a slice borrowed for the call, and no element belongs to two items.
        let c = unsafe { MatMut::from_raw(c.get().add(item.c), m, n, c_stride) };
        matmul(isa, threads, a, b, c, epilogue);
    };
    // One item per task, unless there are too few items or these are big enough to be divided.
    if items.len() >= 4 * threads.count() || m * n * k < 1 << 17 {
        threads.par_for(items.len(), |i| one(&Threads::single(), &items[i]));
    } else {
        items.iter().for_each(|item| one(threads, item));
    }
}

/// Panics if two C of the batch share an element, or rows of one overlap.
fn check_disjoint(batch: &Batch) {
    let (m, n, stride) = (batch.m, batch.n, batch.c_stride);
    assert!(m == 1 || stride >= n, "row stride {stride} of C is less than {n} columns");
    let mut starts: Vec<usize> = batch.items.iter().map(|item| item.c).collect();
    starts.sort_unstable();
    let extent = (m - 1) * stride + n;
    for (i, &start) in starts.iter().enumerate() {
        for other in starts[i + 1..].iter().map(|&s| s - start).take_while(|&d| d < extent) {
            // Rows of one at or after rows of the other, by whole strides and a rest.
            let (rows, rest) = if m > 1 { (other / stride, other % stride) } else { (0, other) };
            let after = rows < m && rest < n;
            let before = m > 1 && rows + 1 < m && stride - rest < n;
            assert!(!after && !before, "matrices C at {start} and {} overlap", start + other);
        }
    }
}
