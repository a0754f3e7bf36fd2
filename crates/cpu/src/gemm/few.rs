//! Products with few rows and an unpacked B: a stream of B, which packing would only slow down.

use super::activation::Activation;
use super::driver;
use super::epilogue::{Bias, Epilogue};
use super::matrix::{MatMut, MatRef};
use super::pack::{Packed, Right, Unpacked, packed_len};
use super::scratch::with_scratch;
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::{Shared, Threads};
use std::ops::Range;

/// Most rows for which a transposed B is not packed.
pub(super) const ROWS: usize = 4;
/// Most rows for which a B with contiguous rows is not packed.
pub(super) const ROWS_IN_PLACE: usize = 14;

/// `C = epilogue(A B)` reading B where it lies, but for columns that do not fill a panel.
pub(super) fn in_place(
    isa: Isa,
    threads: &Threads,
    a: MatRef,
    b: MatRef,
    mut c: MatMut,
    epilogue: &Epilogue,
) {
    let (m, n) = (a.rows, b.cols);
    assert_eq!(a.cols, b.rows, "A has {} columns, B {} rows", a.cols, b.rows);
    assert_eq!((c.rows, c.cols), (m, n), "C must be {m} x {n}");
    epilogue.check(m, n);
    let full = Right::full_panels(isa, b);
    let cols = full.cols;
    driver::product(threads, &a, full, c.part(0, m, 0, cols), &epilogue.part(0, m, 0, cols));
    let rest = n - cols;
    if rest > 0 {
        with_scratch(packed_len(isa, b.rows, rest), |buffer| {
            let b = Unpacked::Normal(b.part(0, b.rows, cols, rest));
            let packed = Packed::pack(isa, &Threads::single(), b, buffer);
            let (c, epilogue) = (c.part(0, m, cols, rest), epilogue.part(0, m, cols, rest));
            driver::product(&Threads::single(), &a, packed.into(), c, &epilogue);
        });
    }
}

/// `C = epilogue(A B)` where column j of B is row j of `b`: dot products.
pub(super) fn dots(isa: Isa, threads: &Threads, a: MatRef, b: MatRef, c: MatMut, epilogue: &Epilogue) {
    let (m, n) = (a.rows, b.rows);
    assert_eq!(a.cols, b.cols, "A has {} columns, B {} rows", a.cols, b.cols);
    assert_eq!((c.rows, c.cols), (m, n), "C must be {m} x {n}");
    epilogue.check(m, n);
    if m == 0 || n == 0 {
        return;
    }
    // Enough floats of B per task to be worth a hand-over.
    let per_task = (16 * 1024 / a.cols.max(1)).max(n.div_ceil(4 * threads.count())).max(1);
    let (start, stride) = (Shared(c.data), c.stride);
    threads.par_for(n.div_ceil(per_task), |task| {
        let cols = task * per_task..n.min((task + 1) * per_task);
        // SAFETY: the columns are within C, which is borrowed for the call, and belong to this task alone.
        let row = |i: usize| unsafe {
            std::slice::from_raw_parts_mut(start.get().add(i * stride + cols.start), cols.len())
        };
        let rows = std::array::from_fn(|i| if i < m { row(i) } else { &mut [][..] });
        isa.dispatch(Dots { a, b, cols: cols.clone(), rows, epilogue });
    });
}

struct Dots<'a> {
    a: MatRef<'a>,
    b: MatRef<'a>,
    cols: Range<usize>,
    /// The columns of each row of C.
    rows: [&'a mut [f32]; ROWS],
    epilogue: &'a Epilogue<'a>,
}

impl Kernel for Dots<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        match self.a.rows {
            1 => self.dots::<S, 1>(s),
            2 => self.dots::<S, 2>(s),
            3 => self.dots::<S, 3>(s),
            _ => self.dots::<S, 4>(s),
        }
        for i in 0..self.a.rows {
            self.finish(s, i);
        }
    }
}

impl Dots<'_> {
    /// `C = alpha A B (+ C)` for `M` rows.
    #[inline(always)]
    fn dots<S: Simd, const M: usize>(&mut self, s: S) {
        let k = self.a.cols;
        let full = k - k % S::LANES;
        let alpha = self.epilogue.alpha;
        for (j, col) in self.cols.clone().enumerate() {
            let y = self.b.row(col);
            let mut acc = [[s.zero(); 2]; M];
            for i in (0..full).step_by(S::LANES) {
                let v = s.load(&y[i..]);
                for (row, acc) in acc.iter_mut().enumerate() {
                    let x = s.load(&self.a.row(row)[i..]);
                    // Two chains, exchanged at every step.
                    *acc = [acc[1], s.mul_add(x, v, acc[0])];
                }
            }
            for (row, acc) in acc.into_iter().enumerate() {
                let x = s.load_partial(&self.a.row(row)[full..]);
                let tail = s.mul_add(x, s.load_partial(&y[full..]), acc[0]);
                let dot = alpha * s.sum(s.add(tail, acc[1]));
                let c = &mut self.rows[row][j];
                *c = if self.epilogue.accumulate { *c + dot } else { dot };
            }
        }
    }

    /// Bias, residual and activation of a row.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, s: S, i: usize) {
        let Dots { cols, rows, epilogue, .. } = self;
        let row = &mut *rows[i];
        match epilogue.bias {
            Bias::None => {}
            Bias::Columns(bias) => row.iter_mut().zip(&bias[cols.clone()]).for_each(|(c, b)| *c += b),
            Bias::Rows(bias) => row.iter_mut().for_each(|c| *c += bias[i]),
        }
        if let Some(residual) = epilogue.residual {
            let residual = residual.part(i, 1, cols.start, cols.len());
            row.iter_mut().zip(residual.data).for_each(|(c, r)| *c += r);
        }
        if epilogue.activation != Activation::None {
            // SAFETY: the slice is one row.
            unsafe { epilogue.activation.apply_rows(s, row.as_mut_ptr(), 0, 1, row.len()) };
        }
    }
}
