//! How sums of products of 8-bit integers are shared out by tiles.

use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/integer_tile.cuh");

/// Rows and columns that a block of 16 x 16 threads takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IntegerTile {
    m: usize,
    n: usize,
}

/// Of which operand's integers the kernel itself must find the sums along the depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) a: bool,
    pub(crate) b: bool,
}

impl IntegerTile {
    /// The tile for a product of `m` rows and `n` columns.
    pub(crate) fn of(m: usize, n: usize) -> IntegerTile {
        let side = |extent: usize| match extent {
            0..=16 => 16,
            17..=32 => 32,
            _ => 64,
        };
        IntegerTile { m: side(m), n: side(n) }
    }

    /// Tiles along columns and rows.
    pub(crate) fn tiles(self, m: usize, n: usize) -> (usize, usize) {
        (n.div_ceil(self.n).max(1), m.div_ceil(self.m).max(1))
    }

    /// Puts the loops before the source; `b_by_depth` says that neighbours in depth lie side by side in the right operand.
    pub(crate) fn fill(self, template: Template, sums: Sums, b_by_depth: bool) -> Template {
        template
            .including(SOURCE)
            .define("TILE_M", format!("{}u", self.m))
            .define("TILE_N", format!("{}u", self.n))
            .switch("SUMS_A", sums.a)
            .switch("SUMS_B", sums.b)
            .switch("B_BY_DEPTH", b_by_depth)
    }

    /// What profiles call it.
    pub(crate) fn name(self, product: &str) -> String {
        format!("{product} {}x{}", self.m, self.n)
    }
}
