//! Copies of elements between strided index spaces: what transposing, slicing, joining and repeating come to.

use inferrum_backend::Decline;
use inferrum_backend::copies::{self, Parts};
use inferrum_graph::{OpError, Operator};
use smallvec::SmallVec;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::Isa;
use crate::strided::{Cursor, Loops};
use crate::threads::{Shared, Threads};

mod tiles;

use tiles::{Tiles, Tiles32};

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

/// Bytes that a thread moves at once.
const TASK_BYTES: usize = 1 << 17;

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
    /// The kernel of an operator that only moves elements; a view if it does not even do that.
    ///
    /// # Errors
    /// Impossible inputs, or elements of no such size.
    pub(crate) fn lower(op: &dyn Operator, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
        Copies::of(&copies::parts(op, lowering)?, lowering)
    }

    /// The kernel of these copies.
    ///
    /// # Errors
    /// As [`Copies::lower`].
    pub(crate) fn of(parts: &Parts, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
        if parts.is_view(lowering) {
            return Ok(Lowered::view("view").packed(parts.unread));
        }
        let part = |part: &copies::Part| {
            let size = lowering.dtype(part.input)?.size();
            let [source, target] = [&part.source, &part.target]
                .map(|walk| Strided { start: walk.start, strides: &walk.strides });
            let copy = StridedCopy::new(size, &part.dims, source, target)?;
            Ok(Part { input: part.input, output: part.output, copy })
        };
        let kernels = parts.parts.iter().map(part).collect::<Result<Vec<_>, Decline>>()?;
        let name = kernels.first().map_or("copy nothing", |part| part.copy.name());
        Ok(Lowered::new(name, Copies { isa: lowering.isa, parts: kernels }).packed(parts.unread))
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
mod tests;
