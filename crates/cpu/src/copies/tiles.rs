//! Copies in which neighbours of the source and of the target go along different loops, tile by tile.

use inferrum_backend::Decline;

use super::Places;
use crate::simd::{Kernel, Simd};
use crate::strided::{Cursor, Loops};

/// Elements of a tile: source and target together fit the first-level cache.
const TILE: usize = 4096;
const TILE_SIDE: usize = 64;

/// Transposes: `target[b * target_stride + a] = source[a * source_stride + b]` for each index of the outer loops.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    outer: Loops,
    /// Extents of a and b.
    extents: [usize; 2],
    /// Extents of a tile.
    pub(super) tile: [usize; 2],
    source_stride: isize,
    target_stride: isize,
}

impl Tiles {
    /// The tiles of loops in which the target's neighbours are innermost, if the source's are in another loop.
    pub(super) fn new(loops: &Loops) -> Result<Option<Tiles>, Decline> {
        let inner = loops.dims().len() - 1;
        let Some(across) = (0..inner).find(|&axis| loops.strides(0)[axis] == 1) else { return Ok(None) };
        let rest: Vec<usize> = (0..inner).filter(|&axis| axis != across).collect();
        let pick = |operand: usize| -> Vec<isize> {
            rest.iter().map(|&axis| loops.strides(operand)[axis]).collect()
        };
        let dims: Vec<usize> = rest.iter().map(|&axis| loops.dims()[axis]).collect();
        let outer = Loops::new(&dims, &[&pick(0), &pick(1)])?;
        let extents = [loops.inner(), loops.dims()[across]];
        let mut tile = extents.map(|extent| extent.clamp(1, TILE_SIDE));
        // Where one side is short, the other is longer.
        tile[0] = extents[0].clamp(1, TILE / tile[1]);
        tile[1] = extents[1].clamp(1, TILE / tile[0]);
        let (source_stride, target_stride) = (loops.inner_stride(0), loops.strides(1)[across]);
        Ok(Some(Tiles { outer, extents, tile, source_stride, target_stride }))
    }

    /// Tiles along a and b.
    fn grid(&self) -> [usize; 2] {
        [self.extents[0].div_ceil(self.tile[0]), self.extents[1].div_ceil(self.tile[1])]
    }

    pub(super) fn count(&self) -> usize {
        let grid = self.grid();
        self.outer.elements() * grid[0] * grid[1]
    }

    /// Calls `f` with the first source and target offset of each of the tiles `start..end` and its extents.
    #[inline(always)]
    fn each(&self, start: usize, end: usize, mut f: impl FnMut(isize, isize, [usize; 2])) {
        let grid = self.grid();
        let per_outer = grid[0] * grid[1];
        for index in start..end {
            // Few tiles share an outer index only if they are many or large, so this division does not matter.
            let cursor = Cursor::new(&self.outer, index / per_outer);
            let within = index % per_outer;
            let corner = [within % grid[0] * self.tile[0], within / grid[0] * self.tile[1]];
            let size = [0, 1].map(|side| self.tile[side].min(self.extents[side] - corner[side]));
            let (a, b) = (corner[0] as isize, corner[1] as isize);
            let source = cursor.offset(0) + a * self.source_stride + b;
            let target = cursor.offset(1) + b * self.target_stride + a;
            f(source, target, size);
        }
    }

    pub(super) fn copy<const N: usize>(&self, places: Places, start: usize, end: usize) {
        let (source, target) = (places.source.get().cast::<[u8; N]>(), places.target.get().cast::<[u8; N]>());
        self.each(start, end, |from, to, size| {
            // SAFETY: as for `copy_rows`.
            unsafe {
                transpose(
                    source.offset(from),
                    self.source_stride,
                    target.offset(to),
                    self.target_stride,
                    size,
                );
            }
        });
    }
}

/// # Safety
/// Both tiles are in bounds and do not overlap.
#[inline(always)]
unsafe fn transpose<T: Copy>(
    source: *const T,
    source_stride: isize,
    target: *mut T,
    target_stride: isize,
    [columns, rows]: [usize; 2],
) {
    let row = |b: usize, columns: usize| {
        for a in 0..columns {
            // SAFETY: the caller vouches for the tile.
            unsafe {
                *target.offset(b as isize * target_stride + a as isize) =
                    *source.offset(a as isize * source_stride + b as isize);
            }
        }
    };
    // Loops of constant length for pixels.
    match columns {
        2 => (0..rows).for_each(|b| row(b, 2)),
        3 => (0..rows).for_each(|b| row(b, 3)),
        4 => (0..rows).for_each(|b| row(b, 4)),
        _ => (0..rows).for_each(|b| row(b, columns)),
    }
}

/// Tiles of elements of four bytes, by vectors.
pub(super) struct Tiles32<'a> {
    pub(super) tiles: &'a Tiles,
    pub(super) places: Places,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Kernel for Tiles32<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tiles32 { tiles, places, start, end } = self;
        let (source, target) = (places.source.get().cast::<f32>(), places.target.get().cast::<f32>());
        let aligned = source.is_aligned() && target.is_aligned();
        let strides = (usize::try_from(tiles.source_stride), usize::try_from(tiles.target_stride));
        let (Ok(source_stride), Ok(target_stride), true) = (strides.0, strides.1, aligned) else {
            return tiles.copy::<4>(places, start, end);
        };
        tiles.each(
            start,
            end,
            #[inline(always)]
            |from, to, [columns, rows]| {
                let (whole_columns, whole_rows) = (columns - columns % S::LANES, rows - rows % S::LANES);
                // SAFETY: as for `copy_rows`; `at` and the blocks stay within the tile.
                unsafe {
                    let (source, target) = (source.offset(from), target.offset(to));
                    for b in (0..whole_rows).step_by(S::LANES) {
                        for a in (0..whole_columns).step_by(S::LANES) {
                            let (from, to) =
                                (source.add(a * source_stride + b), target.add(b * target_stride + a));
                            s.transpose_ptr(from, source_stride, to, target_stride);
                        }
                    }
                    let at = |a: usize, b: usize, size: [usize; 2]| {
                        let (from, to) =
                            (source.add(a * source_stride + b), target.add(b * target_stride + a));
                        transpose(from, tiles.source_stride, to, tiles.target_stride, size);
                    };
                    at(whole_columns, 0, [columns - whole_columns, whole_rows]);
                    at(0, whole_rows, [columns, rows - whole_rows]);
                }
            },
        );
    }
}
