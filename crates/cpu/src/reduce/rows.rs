//! Reductions of f32, by vectors. Sums are in f32 over some hundred or thousand elements, and in f64 beyond, so that
//! long ones stay exact.

use inferrum_graph::OpError;
use inferrum_ops::reduce::Reduction;

use super::Geometry;
use super::fold::{
    ExpSum, Fold, Greatest, Least, MagnitudeSum, Product, SquareSum, Sum, fold_onto, fold_row,
};
use crate::kernel::{Io, Lowered, NodeKernel};
use crate::simd::{Isa, Kernel, Simd};
use crate::strided::Cursor;
use crate::threads::{Shared, Threads};

struct Reduced {
    geometry: Geometry,
    reduction: Reduction,
    isa: Isa,
}

/// Elements that a thread reads at once.
const TASK: usize = 1 << 15;
/// Parts into which a single long row is cut at most.
const PARTS: usize = 64;
/// Columns that are reduced together.
const COLUMNS: usize = 256;
/// Rows that are summed before the sum joins a total.
const STRIPE: usize = 256;

pub(super) fn lower(reduction: Reduction, geometry: Geometry, isa: Isa) -> Lowered {
    let name = if geometry.reduces_last { "reduce rows" } else { "reduce columns" };
    Lowered::new(name, Reduced { geometry, reduction, isa })
}

impl NodeKernel for Reduced {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let x: &[f32] = io.input(0)?;
        let y: &mut [f32] = io.output(0)?;
        let Geometry { kept, reduced, reduces_last, last } = &self.geometry;
        if x.len() != self.geometry.outputs() * self.geometry.count() || y.len() != self.geometry.outputs() {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        if *reduces_last {
            if y.len() == 1 && reduced.elements() == 1 && *last > 2 * TASK {
                y[0] = self.long_row(io.threads, x);
                return Ok(());
            }
            let outputs = (TASK / self.geometry.count()).max(1);
            io.threads.par_chunks_mut(y, outputs, |index, y| {
                self.isa.dispatch(Rows { of: self, x, y, first: index * outputs });
            });
            return Ok(());
        }
        // Fewer columns at once where that keeps more threads busy.
        let mut columns = COLUMNS;
        while columns > 64 && kept.elements() * last.div_ceil(columns) < 4 * io.threads.count() {
            columns /= 2;
        }
        let columns = columns.min(*last);
        let blocks = last.div_ceil(columns);
        let tasks = kept.elements() * blocks;
        let group = (TASK / (columns * reduced.elements())).max(1);
        let y = Shared(y.as_mut_ptr());
        io.threads.par_for(tasks.div_ceil(group), |index| {
            for task in index * group..tasks.min((index + 1) * group) {
                let (row, column) = (task / blocks, task % blocks * columns);
                let n = columns.min(last - column);
                // SAFETY: `row * last + column + n` is at most the number of outputs, and each block is its own.
                let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(row * last + column), n) };
                self.isa.dispatch(Columns { of: self, x, y, row, column });
            }
        });
        Ok(())
    }
}

impl Reduced {
    /// The reduction of all elements, on all threads.
    fn long_row(&self, threads: &Threads, x: &[f32]) -> f32 {
        let part = x.len().div_ceil(PARTS).max(TASK);
        let count = x.len().div_ceil(part);
        let mut results = [0f64; PARTS];
        let parts = |shift: f32, results: &mut [f64]| {
            threads.par_chunks_mut(&mut results[..count], 1, |index, result| {
                let x = &x[index * part..x.len().min((index + 1) * part)];
                result[0] = self.isa.dispatch(Row { reduction: self.reduction, x, shift });
            });
        };
        let mut shift = 0.0;
        if self.reduction == Reduction::LogSumExp {
            let greatest =
                Reduced { reduction: Reduction::Max, isa: self.isa, geometry: self.geometry.clone() };
            shift = finite(greatest.long_row(threads, x));
        }
        parts(shift, &mut results);
        let results = &results[..count];
        let total = match self.reduction {
            Reduction::Prod => results.iter().copied().fold(1.0, |a, b| Product.results(a, b)),
            Reduction::Max => results.iter().copied().fold(f64::NEG_INFINITY, |a, b| Greatest.results(a, b)),
            Reduction::Min => results.iter().copied().fold(f64::INFINITY, |a, b| Least.results(a, b)),
            _ => results.iter().sum(),
        };
        finish(self.reduction, total, x.len(), shift)
    }
}

/// What exponents are shifted by: the greatest, unless it is infinite.
fn finite(greatest: f32) -> f32 {
    if greatest.is_infinite() { 0.0 } else { greatest }
}

/// The result of a reduction whose elements are combined to `total`.
fn finish(reduction: Reduction, total: f64, count: usize, shift: f32) -> f32 {
    (match reduction {
        Reduction::Mean => total / count as f64,
        Reduction::L2 => total.sqrt(),
        Reduction::LogSum => total.ln(),
        Reduction::LogSumExp => f64::from(shift) + total.ln(),
        _ => total,
    }) as f32
}

/// Calls a generic function with the fold of a reduction.
macro_rules! with_fold {
    ($reduction:expr, $f:ident => $body:expr) => {
        match $reduction {
            Reduction::L1 => {
                let $f = MagnitudeSum;
                $body
            }
            Reduction::L2 | Reduction::SumSquare => {
                let $f = SquareSum;
                $body
            }
            Reduction::Sum | Reduction::Mean | Reduction::LogSum => {
                let $f = Sum;
                $body
            }
            Reduction::LogSumExp => {
                let $f = ExpSum;
                $body
            }
            Reduction::Prod => {
                let $f = Product;
                $body
            }
            Reduction::Max => {
                let $f = Greatest;
                $body
            }
            Reduction::Min => {
                let $f = Least;
                $body
            }
        }
    };
}

/// Part of a row.
struct Row<'a> {
    reduction: Reduction,
    x: &'a [f32],
    shift: f32,
}

impl Kernel for Row<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        with_fold!(self.reduction, f => fold_row(s, f, self.x, self.shift))
    }
}

/// Outputs that are each made of rows; the first of them is number `first`.
struct Rows<'a> {
    of: &'a Reduced,
    x: &'a [f32],
    y: &'a mut [f32],
    first: usize,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_fold!(self.of.reduction, f => self.go(s, f));
    }
}

impl Rows<'_> {
    #[inline(always)]
    fn go<S: Simd, F: Fold>(self, s: S, f: F) {
        let Geometry { kept, reduced, last, .. } = &self.of.geometry;
        let reduction = self.of.reduction;
        let count = self.of.geometry.count();
        if let (1, &[stride]) = (reduced.elements(), kept.strides(0))
            && reduction != Reduction::LogSumExp
        {
            // The common case, without the cost of cursors.
            for (i, y) in self.y.iter_mut().enumerate() {
                let row = &self.x[(self.first + i) * stride as usize..][..*last];
                *y = finish(reduction, fold_row(s, f, row, 0.0), count, 0.0);
            }
            return;
        }
        let mut cursor = Cursor::new(kept, self.first);
        for y in self.y {
            let base = cursor.offset(0) as usize;
            let mut shift = 0.0;
            if reduction == Reduction::LogSumExp {
                shift =
                    finite(
                        each_row(self.x, base, reduced, *last, Greatest, |x| fold_row(s, Greatest, x, 0.0))
                            as f32,
                    );
            }
            let total = each_row(self.x, base, reduced, *last, f, |x| fold_row(s, f, x, shift));
            *y = finish(reduction, total, count, shift);
            cursor.advance(1);
        }
    }
}

/// Joins what `row` gives for each of the rows that make an output.
#[inline(always)]
fn each_row<F: Fold>(
    x: &[f32],
    base: usize,
    reduced: &crate::strided::Loops,
    last: usize,
    f: F,
    row: impl Fn(&[f32]) -> f64,
) -> f64 {
    let mut total = f64::from(F::NEUTRAL);
    let mut cursor = Cursor::new(reduced, 0);
    for _ in 0..reduced.elements() {
        let start = base + cursor.offset(0) as usize;
        total = f.results(total, row(&x[start..start + last]));
        cursor.advance(1);
    }
    total
}

/// Outputs that are neighbours, from `column` on in row `row` of the outputs.
struct Columns<'a> {
    of: &'a Reduced,
    x: &'a [f32],
    y: &'a mut [f32],
    row: usize,
    column: usize,
}

impl Kernel for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_fold!(self.of.reduction, f => self.go(s, f));
    }
}

impl Columns<'_> {
    #[inline(always)]
    fn go<S: Simd, F: Fold>(self, s: S, f: F) {
        let Geometry { kept, reduced, .. } = &self.of.geometry;
        let n = self.y.len();
        let base = Cursor::new(kept, self.row).offset(0) as usize + self.column;
        let mut shifts = [0f32; COLUMNS];
        if self.of.reduction == Reduction::LogSumExp {
            shifts[..n].fill(Greatest::NEUTRAL);
            self.each(base, |_, x| fold_onto(s, Greatest, &mut shifts[..n], x, x));
            shifts[..n].iter_mut().for_each(|shift| *shift = finite(*shift));
        }
        let (mut stripe, mut total) = ([F::NEUTRAL; COLUMNS], [f64::from(F::NEUTRAL); COLUMNS]);
        let (stripe, total, shifts) = (&mut stripe[..n], &mut total[..n], &shifts[..n]);
        self.each(base, |row, x| {
            fold_onto(s, f, stripe, x, shifts);
            if row % STRIPE == STRIPE - 1 {
                join_onto(f, total, stripe);
                stripe.fill(F::NEUTRAL);
            }
        });
        join_onto(f, total, stripe);
        let (reduction, count) = (self.of.reduction, reduced.elements());
        for ((y, &total), &shift) in self.y.iter_mut().zip(&*total).zip(shifts) {
            *y = finish(reduction, total, count, shift);
        }
    }

    /// Calls `f` with each row's number and elements.
    #[inline(always)]
    fn each(&self, base: usize, mut f: impl FnMut(usize, &[f32])) {
        let reduced = &self.of.geometry.reduced;
        let mut cursor = Cursor::new(reduced, 0);
        for row in 0..reduced.elements() {
            let start = base + cursor.offset(0) as usize;
            f(row, &self.x[start..start + self.y.len()]);
            cursor.advance(1);
        }
    }
}

#[inline(always)]
fn join_onto<F: Fold>(f: F, total: &mut [f64], stripe: &[f32]) {
    total.iter_mut().zip(stripe).for_each(|(total, &stripe)| *total = f.results(*total, f64::from(stripe)));
}
