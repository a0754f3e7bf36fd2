//! Rows that are reduced: how threads share them out.
//!
//! A row whose elements lie side by side is read by 16 bytes a thread, by as many neighbouring threads as have enough to do, from one up to a
//! block of 1024. Of rows whose elements lie apart neighbouring threads take one each, so that they read neighbours together. A row that
//! fits the registers of its threads stays there, and is read once.

use inferrum_backend::Decline;

use crate::abilities::Abilities;
use crate::kernel::{BLOCK, Kernel, Operand};
use crate::source::{Source, Template};

const SOURCE: &str = include_str!("../../../kernels/rows.cuh");

/// Bytes that a thread reads together.
pub(crate) const TOGETHER: usize = 16;

/// Elements that a thread holds.
const HELD: usize = 32;

/// Packs that a thread reads about as soon as one.
const FEW: usize = 4;

/// Threads of a warp.
const WARP: usize = 32;

/// Most threads of a block.
const MOST_THREADS: usize = 1024;

/// Threads that keep a multiprocessor busy.
const BUSY: usize = 1024;

/// Threads that share a long row, or a part of one; a row has no more parts.
const THREADS_OF_PART: usize = 512;

/// Neighbouring rows, of elements that lie apart, of a block that shares them out.
const COLUMNS: usize = 32;

/// Numbers of packs that kernels are made to hold: a few, so that rows of many lengths share a kernel.
const PACKS: [usize; 13] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32];

/// How rows are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    count: usize,
    /// Elements of a row.
    extent: usize,
    /// Threads of a row.
    lanes: usize,
    /// Rows of a block.
    rows: usize,
    /// Whether their elements do not lie side by side.
    apart: bool,
    /// Elements that are read together.
    width: usize,
    /// Packs of so many elements that a thread holds; 0 if the row does not fit.
    held: usize,
}

impl Rows {
    /// `count` rows of `extent` elements of `bytes` bytes that lie `step` apart. Each row begins where an element begins whose number is a
    /// multiple of `extent` if the step is 1.
    pub(crate) fn of(count: usize, extent: usize, step: usize, bytes: usize, abilities: &Abilities) -> Rows {
        if step > 1 {
            return Rows::apart(count, extent, abilities);
        }
        Rows::joined(count, extent, width(bytes, |factor| extent.is_multiple_of(factor)), abilities)
    }

    /// `count` rows of `extent` elements side by side, of which `width` are read together.
    pub(crate) fn joined(count: usize, extent: usize, width: usize, abilities: &Abilities) -> Rows {
        let packs = extent.div_ceil(width).max(1);
        let busy = abilities.multiprocessors as usize * BUSY;
        // As few threads as hold the row, if each reads but little, or they keep the device busy: fewer have to meet.
        let mut lanes = packs.next_power_of_two().min(WARP);
        while lanes < THREADS_OF_PART && packs > lanes {
            let fits = packs <= lanes * (HELD / width);
            if fits && (packs <= lanes * FEW || count.saturating_mul(lanes) >= busy) {
                break;
            }
            lanes *= 2;
        }
        // Several blocks on a multiprocessor take turns, a single one has all its threads.
        if packs > lanes * (HELD / width) && count < abilities.multiprocessors as usize {
            lanes = MOST_THREADS;
        }
        // Few elements are not worth a thread each: those of another's sector come along anyway.
        if width == 1 && packs <= 4 {
            lanes = 1;
        }
        // Few rows go to multiprocessors of their own.
        let full = (BLOCK / lanes).max(1);
        let few = count < abilities.multiprocessors as usize * full;
        let rows = if few { (WARP / lanes).max(1) } else { full };
        let held = held(packs.div_ceil(lanes), width);
        Rows { count, extent, lanes, rows, apart: false, width, held }
    }

    fn apart(count: usize, extent: usize, abilities: &Abilities) -> Rows {
        let busy = abilities.multiprocessors as usize * BUSY;
        let (lanes, rows) = if extent < 16 || count >= busy {
            (1, BLOCK)
        } else if extent >= 512 && count.saturating_mul(BLOCK / COLUMNS) < busy {
            (MOST_THREADS / COLUMNS, COLUMNS)
        } else {
            (BLOCK / COLUMNS, COLUMNS)
        };
        Rows { count, extent, lanes, rows, apart: true, width: 1, held: held(extent.div_ceil(lanes), 1) }
    }

    /// `count` packs of `width` neighbouring rows, of `extent` elements that lie apart; each thread takes some of a pack's.
    pub(crate) fn columns(count: usize, extent: usize, width: usize, abilities: &Abilities) -> Rows {
        let Rows { lanes, rows, .. } = Rows::apart(count, extent, abilities);
        // Fewer packs leave more threads to each.
        let narrow = if lanes > 1 { count.next_power_of_two().clamp(1, rows) } else { rows };
        Rows { count, extent, lanes: lanes * rows / narrow, rows: narrow, apart: true, width, held: 0 }
    }

    /// The parts of these rows, if they are few and long: a block for each.
    pub(crate) fn in_parts(self, abilities: &Abilities) -> Option<(Rows, Parts)> {
        if self.apart || !self.is_streamed() {
            return None;
        }
        let parts = Parts::of(self.count, self.extent, self.width, Parts::LEAST, abilities)?;
        let held = held(parts.span.div_ceil(self.width * THREADS_OF_PART), self.width);
        let count = self.count * parts.count;
        Some((Rows { count, extent: parts.span, lanes: THREADS_OF_PART, rows: 1, held, ..self }, parts))
    }

    /// Number of rows.
    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// Blocks of a launch.
    pub(crate) fn blocks(self) -> usize {
        self.count.div_ceil(self.rows)
    }

    /// The same with a block for each row, or part of one.
    pub(crate) fn of_block(self) -> Rows {
        Rows { lanes: THREADS_OF_PART, rows: 1, held: 0, ..self }
    }

    /// Elements of rows apart that are worth a block, which its threads share out.
    pub(crate) fn least_part(self) -> usize {
        self.lanes * 2 * FEW
    }

    /// Whether a thread does not hold its elements.
    pub(crate) fn is_streamed(self) -> bool {
        self.held == 0
    }

    /// What the rows' kernels call (rows.cuh).
    pub(crate) fn fill(self, template: Template) -> Template {
        template
            .including(SOURCE)
            .define("LANES", self.lanes)
            .define("ROWS", self.rows)
            .define("WIDTH", self.width)
            .define("HELD", self.held)
            .switch("APART", self.apart)
    }

    /// The launch for all rows.
    ///
    /// # Errors
    /// More rows than a device counts.
    pub(crate) fn launch(self, source: Source, operands: &[Operand]) -> Result<Kernel, Decline> {
        Kernel::blocks(self.blocks(), self.lanes * self.rows, source, operands)
    }
}

/// How many elements of `bytes` bytes are read together; `fits` says for a number of them whether everything comes in such multiples.
pub(crate) fn width(bytes: usize, fits: impl Fn(usize) -> bool) -> usize {
    [16, 8, 4, 2].into_iter().find(|&factor| bytes * factor <= TOGETHER && fits(factor)).unwrap_or(1)
}

/// Packs that a thread holds if it has so many.
fn held(packs: usize, width: usize) -> usize {
    PACKS.into_iter().find(|&held| held >= packs).filter(|held| held * width <= HELD).unwrap_or(0)
}

/// A few long rows in parts, which blocks of their own take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Parts of each row.
    pub(crate) count: usize,
    /// Elements of each but the last one.
    pub(crate) span: usize,
}

impl Parts {
    /// Most parts of a row.
    const MOST: usize = THREADS_OF_PART;
    /// Elements side by side that are worth a block.
    pub(crate) const LEAST: usize = 8192;

    /// The parts of rows of `extent` elements if `blocks` blocks that take them whole leave most of the device idle. Each part but the last has
    /// a multiple of `unit` elements, and about `least` or more.
    pub(crate) fn of(
        blocks: usize,
        extent: usize,
        unit: usize,
        least: usize,
        abilities: &Abilities,
    ) -> Option<Parts> {
        let wanted = 2 * abilities.multiprocessors as usize;
        if blocks == 0 || blocks.saturating_mul(2) > wanted || extent < 4 * least {
            return None;
        }
        let count = (wanted / blocks).min(extent / least).min(Parts::MOST);
        let span = extent.div_ceil(count).next_multiple_of(unit);
        Some(Parts { count: extent.div_ceil(span), span }).filter(|parts| parts.count > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abilities() -> Abilities {
        Abilities {
            capability: 90,
            multiprocessors: 132,
            shared_bytes: 227 << 10,
            memory: 1 << 37,
            tf32: false,
        }
    }

    #[test]
    fn every_row_is_held_or_streamed_whole() {
        for extent in [1, 3, 4, 5, 17, 64, 768, 1000, 4096, 8192, 30000, 50257, 1 << 20] {
            for count in [1, 100, 1 << 20] {
                for step in [1, 7] {
                    let rows = Rows::of(count, extent, step, 2, &abilities());
                    let reach = rows.held * rows.lanes * rows.width;
                    assert!(rows.is_streamed() || reach >= extent, "{rows:?}");
                    assert!(rows.held * rows.width <= HELD && extent.is_multiple_of(rows.width), "{rows:?}");
                    assert!(rows.lanes * rows.rows <= MOST_THREADS, "{rows:?}");
                }
            }
        }
        let rows = Rows::of(16384, 768, 1, 2, &abilities());
        assert_eq!((rows.lanes, rows.width, rows.held), (32, 8, 3));
    }

    #[test]
    fn parts_cover_a_row() {
        assert_eq!(Parts::of(1000, 1 << 20, 4, Parts::LEAST, &abilities()), None);
        let parts = Parts::of(3, 1_000_001, 8, Parts::LEAST, &abilities()).unwrap();
        assert!(parts.count * parts.span >= 1_000_001 && (parts.count - 1) * parts.span < 1_000_001);
        assert!(parts.span.is_multiple_of(8));
    }
}
