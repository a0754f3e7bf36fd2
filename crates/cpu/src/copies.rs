//! Copies of elements between strided index spaces: what transposing, slicing, joining and repeating come to.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use smallvec::SmallVec;

use crate::kernel::{Io, Lowered, NodeKernel};
use crate::simd::{Isa, Kernel, Simd};
use crate::strided::{Cursor, Loops};
use crate::threads::{Shared, Threads};

/// Where the elements of an operand are: the first, and the steps along the loops, all counted in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided<'a> {
    pub(crate) start: isize,
    pub(crate) strides: &'a [isize],
}

/// Copies elements from one place to another, in loops.
#[derive(Clone, Debug)]
pub(crate) struct StridedCopy {
    /// Bytes of an element: 1, 2, 4, 8 or 16.
    size: usize,
    /// Source is operand 0, target operand 1.
    loops: Loops,
    elements: usize,
    /// First byte of source and target.
    starts: [usize; 2],
    /// Bytes that source and target must have.
    ends: [usize; 2],
    method: Method,
}

#[derive(Clone, Debug)]
enum Method {
    /// The innermost loop copies neighbours to neighbours.
    Runs,
    /// The innermost loop copies one element to neighbours.
    Fill,
    /// The innermost loop has steps of any length.
    Steps,
    /// Neighbours in the source go along another loop than neighbours in the target.
    Tiles(Box<Tiles>),
}

/// Transposes: `target[b * target_stride + a] = source[a * source_stride + b]` for each index of the outer loops.
#[derive(Clone, Debug)]
struct Tiles {
    outer: Loops,
    /// Extents of a and b.
    extents: [usize; 2],
    /// Extents of a tile.
    tile: [usize; 2],
    source_stride: isize,
    target_stride: isize,
}

/// Bytes that a thread moves at once.
const TASK_BYTES: usize = 1 << 17;
/// Elements of a tile: source and target together fit the first-level cache.
const TILE: usize = 4096;
const TILE_SIDE: usize = 64;

impl StridedCopy {
    /// A copy of elements of `size` bytes in loops of the extents `dims`. The target's positions must be distinct.
    ///
    /// # Errors
    /// Elements of another size than 1, 2, 4, 8, 16; a position before the start; too many loops.
    pub(crate) fn new(
        size: usize,
        dims: &[usize],
        source: Strided<'_>,
        target: Strided<'_>,
    ) -> Result<StridedCopy, Decline> {
        if !matches!(size, 1 | 2 | 4 | 8 | 16) {
            return Err(Decline(format!("elements of {size} bytes")));
        }
        let mut ends = [0; 2];
        let mut starts = [0; 2];
        for (i, operand) in [source, target].into_iter().enumerate() {
            (starts[i], ends[i]) = extent(size, dims, operand)
                .ok_or_else(|| Decline("a position before the first element".into()))?;
        }
        let (mut loops, mut size) = (Loops::new(dims, &[source.strides, target.strides])?, size);
        if let Some((wider, factor)) = widened(&loops, size) {
            (loops, size) = (wider, size * factor);
        }
        let method = match (loops.inner_stride(0), loops.inner_stride(1)) {
            _ if loops.inner() == 1 => Method::Runs,
            (1, 1) => Method::Runs,
            (0, 1) => Method::Fill,
            (_, 1) => Tiles::new(&loops)?.map_or(Method::Steps, |tiles| Method::Tiles(Box::new(tiles))),
            _ => Method::Steps,
        };
        Ok(StridedCopy { size, elements: loops.elements(), loops, starts, ends, method })
    }

    /// Whether the target is byte for byte the source, if both are as long as the copy.
    pub(crate) fn is_whole(&self) -> bool {
        self.starts == [0, 0] && self.loops.dims().len() == 1 && matches!(self.method, Method::Runs)
    }

    /// The method's name.
    pub(crate) fn name(&self) -> &'static str {
        match self.method {
            Method::Runs => "copy runs",
            Method::Fill => "copy repeated",
            Method::Steps => "copy strided",
            Method::Tiles(_) => "copy tiles",
        }
    }

    /// Copies.
    ///
    /// # Errors
    /// Source or target are too short.
    pub(crate) fn run(
        &self,
        isa: Isa,
        threads: &Threads,
        source: &[u8],
        target: &mut [u8],
    ) -> Result<(), OpError> {
        if self.elements == 0 {
            return Ok(());
        }
        if source.len() < self.ends[0] || target.len() < self.ends[1] {
            return Err(OpError::Invalid("a buffer is smaller than its shape".into()));
        }
        // The starts lie below the ends.
        let places = Places {
            source: Shared(source[self.starts[0]..].as_ptr().cast_mut()),
            target: Shared(target[self.starts[1]..].as_mut_ptr()),
        };
        match &self.method {
            Method::Tiles(tiles) => {
                let count = tiles.count();
                let task = (TASK_BYTES / (tiles.tile[0] * tiles.tile[1] * self.size)).max(1);
                threads.par_for(count.div_ceil(task), |index| {
                    let (start, end) = (index * task, count.min((index + 1) * task));
                    match self.size {
                        1 => tiles.copy::<1>(places, start, end),
                        2 => tiles.copy::<2>(places, start, end),
                        4 => isa.dispatch(Tiles32 { tiles, places, start, end }),
                        8 => tiles.copy::<8>(places, start, end),
                        _ => tiles.copy::<16>(places, start, end),
                    }
                });
            }
            _ => {
                let bytes = self.elements.saturating_mul(self.size);
                let task = if bytes <= 2 * TASK_BYTES { self.elements } else { TASK_BYTES / self.size };
                threads.par_for(self.elements.div_ceil(task), |index| {
                    let (start, end) = (index * task, self.elements.min((index + 1) * task));
                    match self.size {
                        1 => self.copy_rows::<1>(places, start, end),
                        2 => self.copy_rows::<2>(places, start, end),
                        4 => self.copy_rows::<4>(places, start, end),
                        8 => self.copy_rows::<8>(places, start, end),
                        _ => self.copy_rows::<16>(places, start, end),
                    }
                });
            }
        }
        Ok(())
    }

    /// Copies elements `start..end` of the loops.
    // Soundness: `run` has checked that both buffers reach as far as the loops' offsets do, and `new` that these do not
    // begin before them; ranges of other threads have other target elements.
    fn copy_rows<const N: usize>(&self, places: Places, start: usize, end: usize) {
        let (source, target) = (places.source.get().cast::<[u8; N]>(), places.target.get().cast::<[u8; N]>());
        let (step, target_step) = (self.loops.inner_stride(0), self.loops.inner_stride(1));
        let mut cursor = Cursor::new(&self.loops, start);
        let mut position = start;
        while position < end {
            let count = cursor.left().min(end - position);
            // SAFETY: see above.
            unsafe {
                let (from, to) = (source.offset(cursor.offset(0)), target.offset(cursor.offset(1)));
                match self.method {
                    Method::Runs if count * N >= 64 => std::ptr::copy_nonoverlapping(from, to, count),
                    Method::Runs => (0..count).for_each(|i| *to.add(i) = *from.add(i)),
                    Method::Fill => std::slice::from_raw_parts_mut(to, count).fill(*from),
                    _ => {
                        (0..count as isize).for_each(|i| *to.offset(i * target_step) = *from.offset(i * step))
                    }
                }
            }
            position += count;
            cursor.advance(count);
        }
    }
}

/// First byte and end of the bytes that an operand touches; `None` if it reaches before 0 (or beyond the address space).
fn extent(size: usize, dims: &[usize], operand: Strided<'_>) -> Option<(usize, usize)> {
    if dims.contains(&0) {
        return Some((0, 0));
    }
    let (mut low, mut high) = (operand.start, operand.start);
    for (&extent, &stride) in dims.iter().zip(operand.strides) {
        let reach = isize::try_from(extent - 1).ok()?.checked_mul(stride)?;
        if reach < 0 { low = low.checked_add(reach)? } else { high = high.checked_add(reach)? }
    }
    usize::try_from(low).ok()?;
    let end = usize::try_from(high).ok()?.checked_add(1)?.checked_mul(size)?;
    Some((usize::try_from(operand.start).ok()?.checked_mul(size)?, end))
}

/// The loops with the innermost one made part of the element, if it copies neighbours and they are a wider element.
fn widened(loops: &Loops, size: usize) -> Option<(Loops, usize)> {
    let factor = loops.inner();
    let bytes = factor.checked_mul(size)?;
    let rank = loops.dims().len();
    if rank < 2 || factor < 2 || !matches!(bytes, 2 | 4 | 8 | 16) {
        return None;
    }
    if loops.inner_stride(0) != 1 || loops.inner_stride(1) != 1 {
        return None;
    }
    let narrowed = |operand: usize| -> Option<SmallVec<[isize; 8]>> {
        let strides = &loops.strides(operand)[..rank - 1];
        strides
            .iter()
            .map(|stride| (stride % factor as isize == 0).then(|| stride / factor as isize))
            .collect()
    };
    let (source, target) = (narrowed(0)?, narrowed(1)?);
    Some((Loops::new(&loops.dims()[..rank - 1], &[&source, &target]).ok()?, factor))
}

#[derive(Clone, Copy)]
struct Places {
    source: Shared<u8>,
    target: Shared<u8>,
}

impl Tiles {
    /// The tiles of loops in which the target's neighbours are innermost, if the source's are in another loop.
    fn new(loops: &Loops) -> Result<Option<Tiles>, Decline> {
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

    fn count(&self) -> usize {
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

    fn copy<const N: usize>(&self, places: Places, start: usize, end: usize) {
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
struct Tiles32<'a> {
    tiles: &'a Tiles,
    places: Places,
    start: usize,
    end: usize,
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

/// Copies between inputs and outputs.
pub(crate) struct Copies {
    pub(crate) isa: Isa,
    pub(crate) parts: Vec<Part>,
}

/// One copy: input, output, and how.
pub(crate) struct Part {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) copy: StridedCopy,
}

impl Copies {
    /// A kernel of copies that together fill their outputs from all of their inputs; a view where that is a single copy,
    /// from the first input to the first output, which changes nothing.
    pub(crate) fn lower(isa: Isa, parts: Vec<Part>) -> Lowered {
        match &parts[..] {
            [Part { input: 0, output: 0, copy }] if copy.is_whole() => Lowered::view("view"),
            _ => Copies::kernel(isa, parts),
        }
    }

    /// A kernel of copies, whatever they are.
    pub(crate) fn kernel(isa: Isa, parts: Vec<Part>) -> Lowered {
        let name = parts.first().map_or("copy nothing", |part| part.copy.name());
        Lowered::new(name, Copies { isa, parts })
    }
}

impl NodeKernel for Copies {
    fn run(&self, io: Io<'_>) -> Result<(), OpError> {
        let Io { inputs, mut outputs, threads, .. } = io;
        for part in &self.parts {
            let source = inputs.get(part.input).and_then(Option::as_ref);
            let source = source.ok_or(OpError::MissingInput { index: part.input })?;
            if let Some(target) = outputs.get_mut(part.output).and_then(Option::as_mut) {
                part.copy.run(self.isa, threads, source.bytes, target.bytes)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copy by index arithmetic.
    fn slow(
        size: usize,
        dims: &[usize],
        source: Strided<'_>,
        target: Strided<'_>,
        from: &[u8],
        to: &mut [u8],
    ) {
        for index in 0..dims.iter().product::<usize>() {
            let (mut rest, mut at) = (index, [source.start, target.start]);
            for axis in (0..dims.len()).rev() {
                at[0] += (rest % dims[axis]) as isize * source.strides[axis];
                at[1] += (rest % dims[axis]) as isize * target.strides[axis];
                rest /= dims[axis];
            }
            let [a, b] = at.map(|at| at as usize * size);
            to[b..b + size].copy_from_slice(&from[a..a + size]);
        }
    }

    fn check(size: usize, dims: &[usize], source: (isize, &[isize]), target: (isize, &[isize])) {
        let source = Strided { start: source.0, strides: source.1 };
        let target = Strided { start: target.0, strides: target.1 };
        let copy = StridedCopy::new(size, dims, source, target).unwrap();
        let (from_len, to_len) =
            (extent(size, dims, source).unwrap().1, extent(size, dims, target).unwrap().1);
        let from: Vec<u8> = (0..from_len).map(|i| (i * 37 % 251) as u8).collect();
        let mut expected = vec![0xAB; to_len + 16];
        slow(size, dims, source, target, &from, &mut expected);
        for isa in Isa::available() {
            for threads in [1, 2] {
                let mut got = vec![0xAB; to_len + 16];
                copy.run(isa, &Threads::new(threads), &from, &mut got).unwrap();
                assert!(
                    got == expected,
                    "{isa:?} {size} bytes, {dims:?} {source:?} {target:?} {}",
                    copy.name()
                );
            }
        }
        assert!(copy.run(Isa::best(), &Threads::single(), &from[..from_len - 1], &mut expected).is_err());
        assert!(copy.run(Isa::best(), &Threads::single(), &from, &mut expected[..to_len - 1]).is_err());
    }

    #[test]
    fn every_method_copies_every_size() {
        for size in [1, 2, 4, 8, 16] {
            // Runs, within rows of another length.
            check(size, &[5, 7], (3, &[11, 1]), (0, &[7, 1]));
            check(size, &[300, 200], (0, &[400, 1]), (1, &[201, 1]));
            // One element repeated.
            check(size, &[6, 9], (0, &[1, 0]), (0, &[9, 1]));
            // Steps, backwards too.
            check(size, &[5, 7], (6, &[21, -1]), (0, &[7, 1]));
            check(size, &[2, 3], (0, &[6, 2]), (0, &[6, 2]));
            // Transposed: small, pixels, batches, more than one tile each way.
            check(size, &[3, 5], (0, &[1, 3]), (0, &[5, 1]));
            check(size, &[500, 3], (0, &[1, 500]), (0, &[3, 1]));
            check(size, &[3, 500], (0, &[1, 3]), (0, &[500, 1]));
            check(size, &[4, 33, 65], (0, &[33 * 65, 1, 33]), (0, &[33 * 65, 65, 1]));
            check(size, &[131, 200], (0, &[1, 131]), (0, &[200, 1]));
            check(size, &[65, 2, 70], (0, &[1, 65, 130]), (0, &[140, 70, 1]));
            // Nothing but a start.
            check(size, &[], (2, &[]), (1, &[]));
        }
    }

    #[test]
    fn pairs_and_quadruples_become_wider_elements() {
        check(1, &[40, 70, 4], (0, &[4, 160, 1]), (0, &[280, 4, 1]));
        check(4, &[40, 70, 2], (1, &[2, 80, 1]), (3, &[140, 2, 1]));
        check(4, &[5, 7, 2], (0, &[3, 15, 1]), (0, &[14, 2, 1]));
    }

    #[test]
    fn nothing_to_copy_and_impossible_copies() {
        let none = Strided { start: 0, strides: &[1, 1] };
        let copy = StridedCopy::new(4, &[0, 3], none, none).unwrap();
        copy.run(Isa::best(), &Threads::single(), &[], &mut []).unwrap();
        let before = Strided { start: 0, strides: &[-1] };
        assert!(StridedCopy::new(4, &[2], before, Strided { start: 0, strides: &[1] }).is_err());
        assert!(StridedCopy::new(3, &[2, 2], none, none).is_err());
    }
}
