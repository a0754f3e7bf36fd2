//! Blocking: which tiles in which order on which thread.

use super::epilogue::{Bias, Epilogue};
use super::matrix::MatMut;
use super::pack::Packed;
use super::rows::Rows;
use super::tile::{A_STRIDE, Finish, K_BLOCK, MAX_ROWS, Tile, tile_rows};
use crate::simd::{Isa, Kernel, Simd};
use crate::threads::{Shared, Threads};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::null;

/// Bytes of a block of B that should stay in the second-level cache while the rows of A pass.
const B_BLOCK_BYTES: usize = 1 << 20;
/// Bytes of C that a task goes over once per block of K.
const C_BLOCK_BYTES: usize = 512 << 10;

/// The product of `a` and `b`, to C.
pub(crate) struct Product<'a, R> {
    pub(crate) a: &'a R,
    pub(crate) b: Packed<'a>,
    pub(crate) epilogue: &'a Epilogue<'a>,
    c: Shared<f32>,
    c_stride: usize,
}

/// How a product is cut into tasks.
struct Plan {
    /// Row tiles in all, of nearly equal height.
    tiles: usize,
    tiles_per_task: usize,
    panels: usize,
    panels_per_task: usize,
    /// Panels of a block of B.
    panels_per_block: usize,
    /// Length of a block of K.
    k_block: usize,
}

impl Plan {
    fn new(isa: Isa, threads: usize, m: usize, n: usize, k: usize) -> Plan {
        let lanes = isa.lanes();
        let width = 2 * lanes;
        let tiles = m.div_ceil(isa.dispatch(TileRows));
        let panels = n.div_ceil(width);
        let k_blocks = k.div_ceil(K_BLOCK).max(1);
        let k_block = k.div_ceil(k_blocks).next_multiple_of(8).min(K_BLOCK);
        let panels_per_block = (B_BLOCK_BYTES / (4 * width * k_block.max(1))).max(1);
        let panels_per_block = panels.div_ceil(panels.div_ceil(panels_per_block));
        let mut tiles_per_task = tiles;
        if k_blocks > 1 {
            let columns = panels_per_block * width;
            let tile_bytes = 4 * columns * m.div_ceil(tiles);
            tiles_per_task = (C_BLOCK_BYTES / tile_bytes).clamp(4, tiles.max(4));
        }
        let mut panels_per_task = panels;
        if threads > 1 {
            // Some tasks per thread, for balance: first along M (B is shared), then along N.
            let wanted = 4 * threads;
            tiles_per_task = tiles_per_task.min(tiles.div_ceil(wanted).max(4));
            let row_tasks = tiles.div_ceil(tiles_per_task);
            panels_per_task = panels.div_ceil(wanted.div_ceil(row_tasks)).max(1);
        }
        let row_tasks = tiles.div_ceil(tiles_per_task);
        let tiles_per_task = tiles.div_ceil(row_tasks);
        Plan { tiles, tiles_per_task, panels, panels_per_task, panels_per_block, k_block }
    }
}

struct TileRows;

impl Kernel for TileRows {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        tile_rows::<S>()
    }
}

impl<'a, R: Rows> Product<'a, R> {
    /// Computes `C = epilogue(a b)`. Panics unless the shapes fit.
    pub(crate) fn run(threads: &Threads, a: &'a R, b: Packed<'a>, c: MatMut<'a>, epilogue: &'a Epilogue<'a>) {
        let (m, n, k) = (a.count(), b.cols, a.depth());
        assert_eq!(k, b.depth, "A has {k} columns, B {} rows", b.depth);
        assert_eq!((c.rows, c.cols), (m, n), "C must be {m} x {n}");
        epilogue.check(m, n);
        if m == 0 || n == 0 {
            return;
        }
        let product = Product { a, b, epilogue, c: Shared(c.data.as_mut_ptr()), c_stride: c.stride };
        let plan = Plan::new(b.isa, threads.count(), m, n, k);
        let row_tasks = plan.tiles.div_ceil(plan.tiles_per_task);
        let tasks = row_tasks * plan.panels.div_ceil(plan.panels_per_task);
        threads.par_for(tasks, |task| {
            let first_tile = task % row_tasks * plan.tiles_per_task;
            let first_panel = task / row_tasks * plan.panels_per_task;
            let tiles = first_tile..plan.tiles.min(first_tile + plan.tiles_per_task);
            let panels = first_panel..plan.panels.min(first_panel + plan.panels_per_task);
            b.isa.dispatch(Task { product: &product, plan: &plan, tiles, panels });
        });
    }
}

/// A rectangle of C.
struct Task<'a, R> {
    product: &'a Product<'a, R>,
    plan: &'a Plan,
    tiles: Range<usize>,
    panels: Range<usize>,
}

impl<R: Rows> Kernel for Task<'_, R> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { product, plan, tiles, panels } = self;
        let (m, k) = (product.a.count(), product.a.depth());
        let mut scratch = Scratch([MaybeUninit::uninit(); MAX_ROWS * A_STRIDE]);
        let scratch = scratch.0.as_mut_ptr().cast::<f32>();
        let mut first = panels.start;
        while first < panels.end {
            let block = first..panels.end.min(first + plan.panels_per_block);
            let mut k0 = 0;
            loop {
                let depth = k0..k.min(k0 + plan.k_block);
                for tile in tiles.clone() {
                    let rows = m * tile / plan.tiles..m * (tile + 1) / plan.tiles;
                    // SAFETY: rows and depth are in range, and the scratch holds MAX_ROWS rows.

                    let (a, a_stride) = match product.a.in_place() {
                        Some((a, stride)) => unsafe { (a.add(rows.start * stride + depth.start), stride) },
                        None => {
                            unsafe { product.a.copy(s, rows.clone(), depth.clone(), scratch) };
                            (scratch as *const f32, A_STRIDE)
                        }
                    };
                    product.row_tile(s, a, a_stride, rows, depth.clone(), block.clone());
                }
                k0 = depth.end;
                if k0 >= k {
                    break;
                }
            }
            first = block.end;
        }
    }
}

#[repr(align(64))]
struct Scratch([MaybeUninit<f32>; MAX_ROWS * A_STRIDE]);

impl<R: Rows> Product<'_, R> {
    /// The tiles of one set of rows (already in `scratch`) with the given panels.
    #[inline(always)]
    fn row_tile<S: Simd>(
        &self,
        s: S,
        scratch: *const f32,
        a_stride: usize,
        rows: Range<usize>,
        depth: Range<usize>,
        panels: Range<usize>,
    ) {
        let (k, n) = (self.b.depth, self.b.cols);
        let width = 2 * S::LANES;
        let epilogue = self.epilogue;
        let last = depth.end == k;
        let bounds = epilogue.activation.bounds();
        let columns = panels.start * width..n.min(panels.end * width);
        for j in columns.clone().step_by(width) {
            let cols = (n - j).min(width);
            let vectors = cols.div_ceil(S::LANES);
            let b_stride = vectors * S::LANES;
            // SAFETY: rows and columns are within C, which is borrowed for the product and divided among the tasks; the
            // shapes of biases, residual and packed B have been checked against it.
            unsafe {
                let finish = Finish {
                    column_bias: if let Bias::Columns(b) = epilogue.bias {
                        b.as_ptr().add(j)
                    } else {
                        null()
                    },
                    row_bias: if let Bias::Rows(b) = epilogue.bias {
                        b.as_ptr().add(rows.start)
                    } else {
                        null()
                    },
                    residual: epilogue
                        .residual
                        .map_or(null(), |r| r.data.as_ptr().add(rows.start * r.stride + j)),
                    residual_stride: epilogue.residual.map_or(0, |r| r.stride),
                    bounds: bounds.filter(|_| epilogue.activation != super::Activation::None),
                };
                let tile = Tile {
                    a: scratch,
                    a_stride,
                    b: self.b.data.as_ptr().add(j * k + depth.start * b_stride),
                    b_stride,
                    depth: depth.len(),
                    c: self.c.get().add(rows.start * self.c_stride + j),
                    c_stride: self.c_stride,
                    cols,
                    alpha: epilogue.alpha,
                    accumulate: epilogue.accumulate || depth.start > 0,
                    finish: last.then_some(&finish),
                };
                tile.run(s, rows.len(), vectors);
            }
        }
        if last && bounds.is_none() {
            for row in rows {
                // SAFETY: as above; this run of C is ours.
                let c = unsafe {
                    std::slice::from_raw_parts_mut(
                        self.c.get().add(row * self.c_stride + columns.start),
                        columns.len(),
                    )
                };
                epilogue.activation.apply_slice(s, c);
            }
        }
    }
}
