//! The micro-kernel: one tile of C in registers.

use crate::simd::{Kernel, Simd};

/// Longest run of K between two stores of C (a tile's rows of A then stay in the first-level cache).
pub(crate) const K_BLOCK: usize = 512;
/// Most rows of a tile on any instruction set.
pub(crate) const MAX_ROWS: usize = 14;

/// Rows of a full tile: its two-vector rows, a row of B, and two more vectors fill the registers.
pub(crate) const fn tile_rows<S: Simd>() -> usize {
    (S::REGISTERS - 4) / 2
}

/// A run of K that is contiguous in each row of A: `len` elements, `offset` from the row's base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// What to do with a tile after its last block of K. Pointers are null where there is nothing to add.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    /// One value per column, from the tile's first column on.
    pub(crate) column_bias: *const f32,
    /// One value per row, from the tile's first row on.
    pub(crate) row_bias: *const f32,
    /// Matrix, from the tile's first element on.
    pub(crate) residual: *const f32,
    pub(crate) residual_stride: usize,
    /// Lower and upper bound of the result.
    pub(crate) bounds: Option<(f32, f32)>,
}

/// One tile: `C = alpha A B (+ C)`, then [`Finish`].
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// Base of the first row of A.
    pub(crate) a: *const f32,
    pub(crate) a_stride: usize,
    /// The elements of each row, in order of K.
    pub(crate) segments: &'a [Segment],
    /// First element of B.
    pub(crate) b: *const f32,
    pub(crate) b_stride: usize,
    /// Memory that will be needed soon, and the floats of it to be fetched per step of K. Any address will do.
    pub(crate) soon: *const f32,
    pub(crate) soon_step: usize,
    /// First element of C.
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    /// Columns of C to be stored, at most the tile's width.
    pub(crate) cols: usize,
    pub(crate) alpha: f32,
    /// Whether each element has one sum, in order of K.
    pub(crate) in_order: bool,
    /// Whether the old C is added.
    pub(crate) accumulate: bool,
    pub(crate) finish: Option<&'a Finish>,
}

impl Tile<'_> {
    /// Computes a tile of `rows` x `vectors` vectors.
    ///
    /// # Safety
    /// 1 <= rows <= `tile_rows::<S>()`, vectors 1 or 2; `segments` of all rows of A must be readable, B for as many rows
    /// of `vectors` full vectors, and C writable (and residual readable) for rows x cols, the biases readable for rows
    /// and cols.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(self, s: S, rows: usize, vectors: usize) {
        /// Chooses the instance for the number of rows; those that the registers cannot hold are not compiled.
        macro_rules! choose {
            ($nv:literal: $($mr:literal)*) => {
                match rows {
                    $($mr if $mr <= tile_rows::<S>() => s.call(Instance::<$mr, $nv>(self)),)*
                    _ => unreachable!("tile of {rows} rows"),
                }
            };
        }
        if vectors == 2 {
            choose!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        } else {
            choose!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        }
    }
}

struct Instance<'a, const MR: usize, const NV: usize>(Tile<'a>);

impl<const MR: usize, const NV: usize> Kernel for Instance<'_, MR, NV> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if let Some(f) = self.0.finish
            && !f.residual.is_null()
        {
            // It may come from far: ask for it before the long loop, not after.
            for i in 0..MR {
                for j in 0..NV {
                    s.prefetch(f.residual.wrapping_add(i * f.residual_stride + j * S::LANES));
                }
            }
        }
        // SAFETY: the contract of `Tile::run`.
        unsafe {
            let acc = product::<S, MR, NV>(s, &self.0);
            store::<S, MR, NV>(s, &self.0, acc);
        }
    }
}

/// A register tile.
type Acc<S, const MR: usize, const NV: usize> = [[<S as Simd>::F32; NV]; MR];

/// One step of K: adds the outer product of a column of A and a row of B.
///
/// Written out row by row because the compiler must see constant indices to keep the tile in registers. Every third row
/// has an address of its own and the others are displaced from it by one or two strides: five address registers in all.
#[inline(always)]
unsafe fn step<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    acc: &mut Acc<S, MR, NV>,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
) {
    // SAFETY: by the contract of `Tile::run`; addresses of rows that the tile does not have are formed, not used.
    unsafe {
        let mut row = [s.zero(); NV];
        for (j, row) in row.iter_mut().enumerate() {
            *row = s.load_ptr(b.add(j * S::LANES));
        }
        macro_rules! rows {
            ($($base:literal: $($i:literal)*;)*) => {$(
                let base = a.wrapping_add($base * a_stride);
                $(if $i < MR {
                    let x = s.splat(*base.wrapping_add(($i - $base) * a_stride));
                    for j in 0..NV {
                        acc[$i][j] = s.mul_add(x, row[j], acc[$i][j]);
                    }
                })*
            )*};
        }
        rows!(0: 0 1 2; 3: 3 4 5; 6: 6 7 8; 9: 9 10 11; 12: 12 13;);
    }
}

/// The inner loop: the tile of A B in registers.
#[inline(always)]
unsafe fn product<S: Simd, const MR: usize, const NV: usize>(s: S, t: &Tile) -> Acc<S, MR, NV> {
    // The chains of a small tile are too few to hide the latency of an addition: give it several sums.
    let many = MR * NV <= 4 && !t.in_order;
    let mut acc = [[s.zero(); NV]; MR];
    let mut more = [[[s.zero(); NV]; MR]; 3];
    let mut b = t.b;
    let mut soon = t.soon;
    for segment in t.segments {
        let mut a = t.a.wrapping_add(segment.offset);
        let mut left = segment.len;
        // SAFETY: by the contract of `Tile::run`.
        unsafe {
            if many {
                while left >= 4 {
                    s.prefetch(soon);
                    s.prefetch(soon.wrapping_add(2 * t.soon_step));
                    step::<S, MR, NV>(s, &mut acc, a, t.a_stride, b);
                    step::<S, MR, NV>(s, &mut more[0], a.add(1), t.a_stride, b.add(t.b_stride));
                    step::<S, MR, NV>(s, &mut more[1], a.add(2), t.a_stride, b.add(2 * t.b_stride));
                    step::<S, MR, NV>(s, &mut more[2], a.add(3), t.a_stride, b.add(3 * t.b_stride));
                    a = a.add(4);
                    b = b.add(4 * t.b_stride);
                    soon = soon.wrapping_add(4 * t.soon_step);
                    left -= 4;
                }
            }
            for _ in 0..left {
                s.prefetch(soon);
                step::<S, MR, NV>(s, &mut acc, a, t.a_stride, b);
                a = a.wrapping_add(1);
                b = b.wrapping_add(t.b_stride);
                soon = soon.wrapping_add(t.soon_step);
            }
        }
    }
    if many {
        for i in 0..MR {
            for j in 0..NV {
                let pair = s.add(more[1][i][j], more[2][i][j]);
                acc[i][j] = s.add(s.add(acc[i][j], more[0][i][j]), pair);
            }
        }
    }
    acc
}

/// Applies `f` to all vectors of the tile, with their row and first column.
#[inline(always)]
fn each<S: Simd, const MR: usize, const NV: usize>(
    acc: &mut Acc<S, MR, NV>,
    f: impl Fn(usize, usize, S::F32) -> S::F32,
) {
    for (i, row) in acc.iter_mut().enumerate() {
        for (j, v) in row.iter_mut().enumerate() {
            *v = f(i, j * S::LANES, *v);
        }
    }
}

/// Adds a matrix of `cols` columns to the tile.
#[inline(always)]
unsafe fn add_matrix<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    acc: &mut Acc<S, MR, NV>,
    from: *const f32,
    stride: usize,
    cols: usize,
) {
    // SAFETY: by the contract of `Tile::run`; vectors past `cols` are not read.
    unsafe {
        if cols == NV * S::LANES {
            each::<S, MR, NV>(
                acc,
                #[inline(always)]
                |i, j, v| s.add(v, s.load_ptr(from.add(i * stride + j))),
            );
        } else {
            each::<S, MR, NV>(
                acc,
                #[inline(always)]
                |i, j, v| {
                    let n = cols.saturating_sub(j);
                    s.add(v, s.load_ptr_first(from.wrapping_add(i * stride + j), n))
                },
            );
        }
    }
}

/// The end of a tile: scaling, sums, bounds, and the store.
#[inline(always)]
unsafe fn store<S: Simd, const MR: usize, const NV: usize>(s: S, t: &Tile, mut acc: Acc<S, MR, NV>) {
    if t.alpha != 1.0 {
        let alpha = s.splat(t.alpha);
        each::<S, MR, NV>(
            &mut acc,
            #[inline(always)]
            |_, _, v| s.mul(v, alpha),
        );
    }
    // SAFETY: by the contract of `Tile::run`; vectors past `cols` are neither read nor written.
    unsafe {
        if t.accumulate {
            add_matrix::<S, MR, NV>(s, &mut acc, t.c, t.c_stride, t.cols);
        }
        if let Some(f) = t.finish {
            finish::<S, MR, NV>(s, f, t.cols, &mut acc);
        }
        if t.cols == NV * S::LANES {
            for (i, row) in acc.iter().enumerate() {
                for (j, &v) in row.iter().enumerate() {
                    s.store_ptr(t.c.add(i * t.c_stride + j * S::LANES), v);
                }
            }
        } else {
            for (i, row) in acc.iter().enumerate() {
                for (j, &v) in row.iter().enumerate() {
                    let at = t.c.wrapping_add(i * t.c_stride + j * S::LANES);
                    s.store_ptr_first(at, v, t.cols.saturating_sub(j * S::LANES));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn finish<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    f: &Finish,
    cols: usize,
    acc: &mut Acc<S, MR, NV>,
) {
    // SAFETY: by the contract of `Tile::run`; vectors past `cols` are not read.
    unsafe {
        if !f.column_bias.is_null() {
            let mut bias = [s.zero(); NV];
            for (j, bias) in bias.iter_mut().enumerate() {
                let at = f.column_bias.wrapping_add(j * S::LANES);
                *bias = s.load_ptr_first(at, cols.saturating_sub(j * S::LANES));
            }
            each::<S, MR, NV>(
                acc,
                #[inline(always)]
                |_, j, v| s.add(v, bias[j / S::LANES]),
            );
        }
        if !f.row_bias.is_null() {
            each::<S, MR, NV>(
                acc,
                #[inline(always)]
                |i, _, v| s.add(v, s.splat(*f.row_bias.add(i))),
            );
        }
        if !f.residual.is_null() {
            add_matrix::<S, MR, NV>(s, acc, f.residual, f.residual_stride, cols);
        }
    }
    if let Some((lo, hi)) = f.bounds {
        let (lo, hi) = (s.splat(lo), s.splat(hi));
        // Bounds first: keeps NaN.
        each::<S, MR, NV>(
            acc,
            #[inline(always)]
            |_, _, v| s.min(hi, s.max(lo, v)),
        );
    }
}
