//! Going over the tiles of a product.

use super::activation::Activation;
use super::epilogue::{Bias, Epilogue};
use super::matrix::{MatMut, MatRef};
use super::pack::Right;
use super::plan::{Block, Plan};
use super::rows::{Rows, crowded};
use super::scratch::with_scratch;
use super::tile::{Finish, K_BLOCK, MAX_ROWS, Tile};
use crate::simd::{Kernel, Simd};
use crate::threads::{Shared, Threads};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::null;

/// Floats of A that are copied at a time where A cannot be read in place and B is not resident.
const COPY_FLOATS: usize = 1 << 20;

/// Computes `C = epilogue(a b)`. Panics unless the shapes fit.
pub(crate) fn product<R: Rows>(threads: &Threads, a: &R, b: Right, c: MatMut, epilogue: &Epilogue) {
    let (m, n, k) = (a.count(), b.cols, a.depth());
    assert_eq!(k, b.depth, "A has {k} columns, B {} rows", b.depth);
    assert_eq!((c.rows, c.cols), (m, n), "C must be {m} x {n}");
    epilogue.check(m, n);
    if m == 0 || n == 0 {
        return;
    }
    let plan = Plan::new(b.isa, threads.count(), a, n);
    if plan.in_place.is_some() || plan.b_resident {
        run(threads, &plan, a, b, c, epilogue);
    } else {
        copied(threads, a, b, c, epilogue);
    }
}

/// Copies A, some rows at a time, and multiplies the copy.
fn copied<R: Rows>(threads: &Threads, a: &R, b: Right, mut c: MatMut, epilogue: &Epilogue) {
    let (m, k) = (a.count(), a.depth());
    // Room for a vector written past the end.
    let mut stride = k.next_multiple_of(16) + 16;
    while crowded(stride) {
        stride += 16;
    }
    let rows_at_once = (COPY_FLOATS / stride).clamp(MAX_ROWS.min(m), m);
    for first in (0..m).step_by(rows_at_once) {
        let rows = first..m.min(first + rows_at_once);
        with_scratch(rows.len() * stride, |buffer| {
            threads.par_chunks_mut(buffer, MAX_ROWS * stride, |i, part| {
                let start = first + i * MAX_ROWS;
                let rows = start..start + part.len() / stride;
                b.isa.dispatch(CopyRows { a, rows, to: part, stride });
            });
            let a = MatRef::strided(buffer, rows.len(), k, stride);
            let n = b.cols;
            let c = c.part(first, rows.len(), 0, n);
            let epilogue = epilogue.part(first, rows.len(), 0, n);
            run(threads, &Plan::new(b.isa, threads.count(), &a, b.cols), &a, b, c, &epilogue);
        });
    }
}

struct CopyRows<'a, R> {
    a: &'a R,
    rows: Range<usize>,
    to: &'a mut [f32],
    stride: usize,
}

impl<R: Rows> Kernel for CopyRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let CopyRows { a, rows, to, stride } = self;
        let k = a.depth();
        assert!(rows.end <= a.count() && to.len() >= rows.len() * stride && stride >= k + S::LANES - 1);
        // SAFETY: asserted.
        unsafe { a.copy(s, rows, 0..k, to.as_mut_ptr(), stride) };
    }
}

/// A product whose shapes have been checked.
struct Product<'a, R> {
    plan: &'a Plan,
    a: &'a R,
    b: Right<'a>,
    c: Shared<f32>,
    c_stride: usize,
    epilogue: &'a Epilogue<'a>,
}

fn run<R: Rows>(threads: &Threads, plan: &Plan, a: &R, b: Right, c: MatMut, epilogue: &Epilogue) {
    let product = Product { plan, a, b, c: Shared(c.data), c_stride: c.stride, epilogue };
    threads.par_for(plan.tasks(), |i| {
        let (tiles, panels) = plan.task(i);
        b.isa.dispatch(Task { product: &product, tiles, panels });
    });
}

/// A rectangle of C.
struct Task<'a, R> {
    product: &'a Product<'a, R>,
    tiles: Range<usize>,
    panels: Range<usize>,
}

impl<R: Rows> Kernel for Task<'_, R> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { product, tiles, panels } = self;
        if product.plan.b_resident {
            product.b_resident(s, tiles, panels);
        } else {
            product.b_streaming(s, tiles, panels);
        }
    }
}

/// Distance of rows in the scratch tile of A: room for a vector written past the end, and not crowded.
const SCRATCH_STRIDE: usize = K_BLOCK + 16;

#[repr(align(64))]
struct Scratch([MaybeUninit<f32>; MAX_ROWS * SCRATCH_STRIDE]);

/// A tile's rows of A.
#[derive(Clone, Copy)]
struct Left {
    base: *const f32,
    stride: usize,
}

/// What to fetch ahead while a tile is computed.
#[derive(Clone, Copy)]
struct Soon {
    from: *const f32,
    step: usize,
}

impl<R: Rows> Product<'_, R> {
    /// All of B is near: each tile of A meets all panels, and its part of C is finished before the next.
    #[inline(always)]
    fn b_resident<S: Simd>(&self, s: S, tiles: Range<usize>, panels: Range<usize>) {
        let mut scratch = Scratch([MaybeUninit::uninit(); MAX_ROWS * SCRATCH_STRIDE]);
        let scratch = scratch.0.as_mut_ptr().cast::<f32>();
        let mut base = self.a.base(self.plan.rows(tiles.start).start);
        for tile in tiles {
            let rows = self.plan.rows(tile);
            let next_base = self.a.base(rows.end);
            for (i, block) in self.plan.blocks.iter().enumerate() {
                let left = match self.plan.in_place {
                    Some(p) => Left { base, stride: p.stride },
                    None => {
                        // SAFETY: rows and k are in range, and the scratch holds MAX_ROWS rows of K_BLOCK and a vector.
                        unsafe { self.a.copy(s, rows.clone(), block.k.clone(), scratch, SCRATCH_STRIDE) };
                        Left { base: scratch, stride: SCRATCH_STRIDE }
                    }
                };
                // The next tile's rows, fetched in equal parts while this one meets the panels.
                let (offset, floats) = self.a.ahead(rows.len());
                let per_block = floats / self.plan.blocks.len();
                let per_panel = per_block / panels.len();
                let step = per_panel.div_ceil(block.k.len().max(1));
                let next = next_base.wrapping_add(offset + i * per_block);
                for (j, panel) in panels.clone().enumerate() {
                    let soon = Soon { from: next.wrapping_add(j * per_panel), step };
                    // SAFETY: `left` describes these rows.
                    unsafe { self.tile(s, left, rows.clone(), block, panel, soon) };
                }
            }
            base = next_base;
        }
    }

    /// The task's block of A is near: each panel of B meets all tiles while the next panel is fetched.
    #[inline(always)]
    fn b_streaming<S: Simd>(&self, s: S, tiles: Range<usize>, panels: Range<usize>) {
        let stride = self.plan.in_place.map_or(0, |p| p.stride);
        let step = (2 * S::LANES).div_ceil(tiles.len());
        for (i, block) in self.plan.blocks.iter().enumerate() {
            for panel in panels.clone() {
                let next = if panel + 1 < panels.end {
                    Some((panel + 1, block.k.start))
                } else {
                    self.plan.blocks.get(i + 1).map(|block| (panels.start, block.k.start))
                };
                let next = next.filter(|_| self.b.is_packed());
                let next = next.map(|(panel, k)| self.b.panel::<S>(panel * 2 * S::LANES, k).0);
                for (j, tile) in tiles.clone().enumerate() {
                    let rows = self.plan.rows(tile);
                    let left = Left { base: self.a.base(rows.start), stride };
                    let soon = match next {
                        Some(next) => Soon { from: next.wrapping_add(j * step * block.k.len()), step },
                        None => Soon { from: left.base, step: 0 },
                    };
                    // SAFETY: `left` describes these rows: a streaming product has its A in place.
                    unsafe { self.tile(s, left, rows, block, panel, soon) };
                }
            }
        }
    }

    /// One tile with one panel.
    ///
    /// # Safety
    /// `left` must describe `rows` of A, for the block's segments; rows and panel must belong to the task alone.
    #[inline(always)]
    unsafe fn tile<S: Simd>(
        &self,
        s: S,
        left: Left,
        rows: Range<usize>,
        block: &Block,
        panel: usize,
        soon: Soon,
    ) {
        let width = 2 * S::LANES;
        let first = panel * width;
        let cols = (self.b.cols - first).min(width);
        let (b, b_stride) = self.b.panel::<S>(first, block.k.start);
        let epilogue = self.epilogue;
        let bounds = epilogue.activation.bounds();
        let last = block.k.end == self.b.depth;
        // SAFETY: rows and columns are within C, which is borrowed for the product and divided among the tasks; the
        // shapes of biases, residual and packed B have been checked against it.
        unsafe {
            let finish = Finish {
                column_bias: if let Bias::Columns(b) = epilogue.bias {
                    b.as_ptr().add(first)
                } else {
                    null()
                },
                row_bias: if let Bias::Rows(b) = epilogue.bias { b.as_ptr().add(rows.start) } else { null() },
                residual: epilogue.residual.map_or(null(), |r| r.base(rows.start).add(first)),
                residual_stride: epilogue.residual.map_or(0, |r| r.stride),
                bounds: bounds.filter(|_| epilogue.activation != Activation::None),
            };
            let c = self.c.get().add(rows.start * self.c_stride + first);
            let tile = Tile {
                a: left.base,
                a_stride: left.stride,
                segments: &block.segments,
                b,
                b_stride,
                soon: soon.from,
                soon_step: soon.step,
                c,
                c_stride: self.c_stride,
                cols,
                alpha: epilogue.alpha,
                in_order: epilogue.in_order,
                accumulate: epilogue.accumulate || block.k.start > 0,
                finish: last.then_some(&finish),
            };
            tile.run(s, rows.len(), cols.div_ceil(S::LANES));
            if last && bounds.is_none() {
                epilogue.activation.apply_rows(s, c, self.c_stride, rows.len(), cols);
            }
        }
    }
}
