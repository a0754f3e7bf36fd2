//! The micro-kernel: one tile of C in registers.

use crate::simd::{Kernel, Simd};

/// Longest run of K between two stores of C. Rows of A of this length stay in the first-level cache.
pub(crate) const K_BLOCK: usize = 512;
/// Distance of rows in the scratch tile of A: not a power of two, so that rows do not compete for cache sets, and with
/// room for a vector written past the end.
pub(crate) const A_STRIDE: usize = K_BLOCK + 16;
/// Most rows of a tile on any instruction set.
pub(crate) const MAX_ROWS: usize = 14;

/// Rows of a full tile: its two-vector rows, a row of B, and two more vectors fill the registers.
pub(crate) const fn tile_rows<S: Simd>() -> usize {
    (S::REGISTERS - 4) / 2
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
    /// First element of A.
    pub(crate) a: *const f32,
    pub(crate) a_stride: usize,
    /// First element of B.
    pub(crate) b: *const f32,
    pub(crate) b_stride: usize,
    pub(crate) depth: usize,
    /// First element of C.
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    /// Columns of C to be stored, at most the tile's width.
    pub(crate) cols: usize,
    pub(crate) alpha: f32,
    /// Whether the old C is added.
    pub(crate) accumulate: bool,
    pub(crate) finish: Option<&'a Finish>,
}

impl Tile<'_> {
    /// Computes a tile of `rows` x `vectors` vectors.
    ///
    /// # Safety
    /// 1 <= rows <= `tile_rows::<S>()`, vectors 1 or 2; A must be readable for rows x depth, B for depth x (vectors
    /// full vectors), and C writable (and residual readable) for rows x cols, the biases readable for rows and cols.
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
        let t = self.0;
        // SAFETY: the contract of `Tile::run`.
        unsafe {
            let acc = product::<S, MR, NV>(s, t.a, t.a_stride, t.b, t.b_stride, t.depth);
            store::<S, MR, NV>(s, &t, acc);
        }
    }
}

/// The inner loop: the tile of A B in registers. Rows of A are [`A_STRIDE`] apart, which makes them displacements of one
/// address.
#[inline(always)]
unsafe fn product<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    a: *const f32,
    a_stride: usize,
    mut b: *const f32,
    b_stride: usize,
    depth: usize,
) -> [[S::F32; NV]; MR] {
    let mut acc = [[s.zero(); NV]; MR];
    let (mut p0, mut p3, mut p6, mut p9, mut p12) = (
        a,
        a.wrapping_add(3 * a_stride),
        a.wrapping_add(6 * a_stride),
        a.wrapping_add(9 * a_stride),
        a.wrapping_add(12 * a_stride),
    );
    for _ in 0..depth {
        // SAFETY: by the contract of `Tile::run`.
        unsafe {
            let mut row = [s.zero(); NV];
            for j in 0..NV {
                row[j] = s.load_ptr(b.add(j * S::LANES));
            }
            macro_rules! rows {
                ($($i:literal $p:ident $f:literal)*) => {$(
                    if $i < MR {
                        let x = s.splat(*$p.wrapping_add($f * a_stride));
                        for j in 0..NV {
                            acc[$i][j] = s.mul_add(x, row[j], acc[$i][j]);
                        }
                    }
                )*};
            }
            rows!(0 p0 0 1 p0 1 2 p0 2 3 p3 0 4 p3 1 5 p3 2 6 p6 0 7 p6 1 8 p6 2 9 p9 0 10 p9 1 11 p9 2 12 p12 0 13 p12 1);
            p0 = p0.wrapping_add(1);
            p3 = p3.wrapping_add(1);
            p6 = p6.wrapping_add(1);
            p9 = p9.wrapping_add(1);
            p12 = p12.wrapping_add(1);
            b = b.add(b_stride);
        }
    }
    acc
}

/// Applies `f` to all vectors of the tile, with their row and first column.
#[inline(always)]
fn each<S: Simd, const MR: usize, const NV: usize>(
    acc: &mut [[S::F32; NV]; MR],
    f: impl Fn(usize, usize, S::F32) -> S::F32,
) {
    for i in 0..MR {
        for j in 0..NV {
            acc[i][j] = f(i, j * S::LANES, acc[i][j]);
        }
    }
}

/// Adds a matrix of `cols` columns to the tile.
#[inline(always)]
unsafe fn add_matrix<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    acc: &mut [[S::F32; NV]; MR],
    from: *const f32,
    stride: usize,
    cols: usize,
) {
    // SAFETY: by the contract of `Tile::run`.
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
unsafe fn store<S: Simd, const MR: usize, const NV: usize>(s: S, t: &Tile, mut acc: [[S::F32; NV]; MR]) {
    let alpha = s.splat(t.alpha);
    each::<S, MR, NV>(
        &mut acc,
        #[inline(always)]
        |_, _, v| s.mul(v, alpha),
    );
    // SAFETY: by the contract of `Tile::run`; vectors past `cols` are neither read nor written, only their addresses are
    // formed, wrapping.
    unsafe {
        if t.accumulate {
            add_matrix::<S, MR, NV>(s, &mut acc, t.c, t.c_stride, t.cols);
        }
        if let Some(finish) = t.finish {
            if !finish.column_bias.is_null() {
                let mut bias = [s.zero(); NV];
                for j in 0..NV {
                    let at = finish.column_bias.wrapping_add(j * S::LANES);
                    bias[j] = s.load_ptr_first(at, t.cols.saturating_sub(j * S::LANES));
                }
                each::<S, MR, NV>(
                    &mut acc,
                    #[inline(always)]
                    |_, j, v| s.add(v, bias[j / S::LANES]),
                );
            }
            if !finish.row_bias.is_null() {
                each::<S, MR, NV>(
                    &mut acc,
                    #[inline(always)]
                    |i, _, v| s.add(v, s.splat(*finish.row_bias.add(i))),
                );
            }
            if !finish.residual.is_null() {
                add_matrix::<S, MR, NV>(s, &mut acc, finish.residual, finish.residual_stride, t.cols);
            }
            if let Some((lo, hi)) = finish.bounds {
                let (lo, hi) = (s.splat(lo), s.splat(hi));
                each::<S, MR, NV>(
                    &mut acc,
                    #[inline(always)]
                    |_, _, v| s.min(hi, s.max(lo, v)),
                );
            }
        }
        if t.cols == NV * S::LANES {
            for i in 0..MR {
                for j in 0..NV {
                    s.store_ptr(t.c.add(i * t.c_stride + j * S::LANES), acc[i][j]);
                }
            }
        } else {
            for i in 0..MR {
                for j in 0..NV {
                    let at = t.c.wrapping_add(i * t.c_stride + j * S::LANES);
                    s.store_ptr_first(at, acc[i][j], t.cols.saturating_sub(j * S::LANES));
                }
            }
        }
    }
}
