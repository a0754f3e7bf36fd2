//! Rows that are reduced: by a block each where they are long, by a warp each otherwise, by a thread each where their elements do not lie side by
//! side and there are many rows.

use inferrum_backend::Decline;

use crate::kernel::{BLOCK, Kernel, Operand};
use crate::source::{Source, Template};

const SOURCE: &str = include_str!("../../../kernels/rows.cuh");

/// Elements from which a block takes a row.
const LONG: usize = 1024;

/// Elements from which a warp takes a row whose elements do not lie side by side, if there are few rows.
const APART: usize = 128;

/// Rows from which there are enough of them for a thread each.
const MANY: usize = 65536;

/// Threads of a warp.
const WARP: usize = 32;

/// How rows are shared out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    count: usize,
    /// Threads of a row.
    lanes: usize,
}

impl Rows {
    /// `count` rows of `extent` elements, which lie side by side or not.
    pub(crate) fn of(count: usize, extent: usize, side_by_side: bool) -> Rows {
        let joined = if side_by_side { extent > 4 } else { extent >= APART && count < MANY };
        let lanes = match extent {
            _ if !joined => 1,
            0..LONG => WARP,
            _ => BLOCK,
        };
        Rows { count, lanes }
    }

    /// What the rows' kernels call (rows.cuh).
    pub(crate) fn fill(self, template: Template) -> Template {
        template.including(SOURCE).define("LANES", self.lanes)
    }

    /// The launch for all rows.
    ///
    /// # Errors
    /// More rows than a device counts.
    pub(crate) fn launch(self, source: Source, operands: &[Operand]) -> Result<Kernel, Decline> {
        let rows_of_a_block = BLOCK / self.lanes;
        Kernel::blocks(self.count.div_ceil(rows_of_a_block), BLOCK, source, operands)
    }
}
