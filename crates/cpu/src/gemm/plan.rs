//! Blocking: how a product is cut into tasks, and in which order a task goes over its tiles.

use super::rows::{InPlace, Rows};
use super::tile::{K_BLOCK, Segment, tile_rows};
use crate::simd::{Isa, Kernel, Simd};
use std::ops::Range;

/// Bytes of B that may stay in the second-level cache while the rows of A pass.
pub(crate) const RESIDENT_BYTES: usize = 1 << 20;
/// Bytes of a block of A that may stay in the second-level cache while the panels of B pass.
const A_BLOCK_BYTES: usize = 512 << 10;
/// Fewer row tiles than this are not worth keeping all of B near: loading it takes too large a part of the time.
const RESIDENT_TILES: usize = 16;
/// Multiplications that are worth handing over to another thread.
const TASK_WORK: usize = 1 << 17;
/// Up to this number of rows a product is a stream of B, and C is stored once.
const FEW_ROWS: usize = 4;
const FEW_ROWS_K_BLOCK: usize = 4096;

/// How a product is cut up.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How A is read.
    pub(crate) in_place: Option<InPlace>,
    /// First rows of the tiles, and the number of rows. Heights within a group of rows differ by one at most.
    edges: Vec<usize>,
    panels: usize,
    tiles_per_task: usize,
    panels_per_task: usize,
    row_tasks: usize,
    /// Whether B stays in the cache and tiles of A pass, or the other way round.
    pub(crate) b_resident: bool,
    /// Blocks of K.
    pub(crate) blocks: Vec<Block>,
}

/// A block of K.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) k: Range<usize>,
    /// Where its elements lie in a row of A.
    pub(crate) segments: Vec<Segment>,
}

impl Plan {
    /// Plans the product of `a` with a B of `n` columns on `threads` threads.
    pub(crate) fn new(isa: Isa, threads: usize, a: &impl Rows, n: usize) -> Plan {
        let (m, k) = (a.count(), a.depth());
        let in_place = a.in_place();
        let group = in_place.map_or(m, |p| p.group);
        let tiles_per_group = group.div_ceil(rows_per_tile(isa));
        let edges = edges(m, group, tiles_per_group);
        let tiles = edges.len() - 1;
        let width = 2 * isa.lanes();
        let panels = n.div_ceil(width);
        let b_bytes = 4 * k * panels * width;
        let b_resident = tiles >= RESIDENT_TILES && b_bytes <= RESIDENT_BYTES;
        let blocks = blocks(a, in_place);
        let longest = blocks.iter().map(|b| b.k.len()).max().unwrap_or(0);

        // Some tasks per thread, for balance, but each worth a hand-over. A product of few rows takes the time of reading B.
        let work = m.max(FEW_ROWS).saturating_mul(n).saturating_mul(k);
        let wanted = if threads > 1 { (work / TASK_WORK).clamp(1, 4 * threads) } else { 1 };
        let (row_tasks, panel_tasks) = if b_resident {
            (wanted.min(tiles), 1)
        } else {
            // Rows of A that fit the cache in a task; then as many tasks as possible by columns, since these share A.
            let rows = (A_BLOCK_BYTES / (4 * longest.max(1))).max(1);
            let needed = m.div_ceil(rows).min(tiles);
            let panel_tasks = wanted.div_ceil(needed).min(panels);
            (needed.max(wanted.div_ceil(panel_tasks)).min(tiles), panel_tasks)
        };
        let tiles_per_task = tiles.div_ceil(row_tasks);
        let panels_per_task = panels.div_ceil(panel_tasks);
        let row_tasks = tiles.div_ceil(tiles_per_task);
        Plan { in_place, edges, panels, tiles_per_task, panels_per_task, row_tasks, b_resident, blocks }
    }

    /// Number of tasks.
    pub(crate) fn tasks(&self) -> usize {
        self.row_tasks * self.panels.div_ceil(self.panels_per_task)
    }

    /// Tiles and panels of a task. Tasks with the same rows follow each other.
    pub(crate) fn task(&self, i: usize) -> (Range<usize>, Range<usize>) {
        let panel_tasks = self.panels.div_ceil(self.panels_per_task);
        let tile = i / panel_tasks * self.tiles_per_task;
        let panel = i % panel_tasks * self.panels_per_task;
        let tiles = tile..(self.edges.len() - 1).min(tile + self.tiles_per_task);
        (tiles, panel..self.panels.min(panel + self.panels_per_task))
    }

    /// Rows of a tile.
    #[inline]
    pub(crate) fn rows(&self, tile: usize) -> Range<usize> {
        self.edges[tile]..self.edges[tile + 1]
    }
}

/// Cuts each group of rows into `tiles` of nearly equal height.
fn edges(m: usize, group: usize, tiles: usize) -> Vec<usize> {
    let mut edges = Vec::with_capacity(m / group * tiles + 1);
    for first in (0..m).step_by(group) {
        edges.extend((0..tiles).map(|i| first + group * i / tiles));
    }
    edges.push(m);
    edges
}

/// Cuts K into equal blocks; a product with no K still has one, in which C is set.
fn blocks(a: &impl Rows, in_place: Option<InPlace>) -> Vec<Block> {
    let (m, k) = (a.count(), a.depth());
    let longest = if m <= FEW_ROWS && in_place.is_some() { FEW_ROWS_K_BLOCK } else { K_BLOCK };
    let count = k.div_ceil(longest).max(1);
    let block = |i| {
        let k = k * i / count..k * (i + 1) / count;
        let mut segments = Vec::with_capacity(1);
        match in_place {
            Some(_) => a.segments(k.clone(), &mut segments),
            None => segments.push(Segment { offset: 0, len: k.len() }),
        }
        Block { k, segments }
    };
    (0..count).map(block).collect()
}

/// Rows of a register tile.
pub(crate) fn rows_per_tile(isa: Isa) -> usize {
    isa.dispatch(TileRows)
}

struct TileRows;

impl Kernel for TileRows {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        tile_rows::<S>()
    }
}
