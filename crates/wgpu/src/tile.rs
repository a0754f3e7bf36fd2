//! The tiles of matrix products.

use crate::shader::Template;

/// The loops of matrix products, for [`Template::including`].
const SOURCE: &str = include_str!("../../../shaders/tile.wgsl");

/// A tile of sums, which a workgroup of 16 x 16 invocations computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Rows.
    pub(crate) m: usize,
    /// Columns.
    pub(crate) n: usize,
}

/// Depth of a tile.
const DEPTH: usize = 16;

impl Tile {
    /// The tile for a product of `m` rows and `n` columns: smaller ones where a large one would be mostly empty.
    pub(crate) fn of(m: usize, n: usize) -> Tile {
        let side = |extent: usize| {
            if extent > 32 {
                64
            } else if extent > 16 {
                32
            } else {
                16
            }
        };
        Tile { m: side(m), n: side(n) }
    }

    /// Workgroups for a product.
    pub(crate) fn groups(self, m: usize, n: usize) -> (usize, usize) {
        (n.div_ceil(self.n), m.div_ceil(self.m))
    }

    /// Puts the loops after the functions that they call. `a_by_depth` says that neighbouring rows of the left operand lie
    /// side by side, `b_by_depth` that neighbouring depths of the right one do.
    pub(crate) fn fill(self, template: Template, a_by_depth: bool, b_by_depth: bool) -> Template {
        template
            .including(SOURCE)
            .with("tile_m", self.m)
            .with("tile_n", self.n)
            .with("rows", self.m / 16)
            .with("columns", self.n / 16)
            .with("size_a", self.m * DEPTH)
            .with("size_b", self.n * DEPTH)
            .switch("a_by_depth", a_by_depth)
            .switch("b_by_depth", b_by_depth)
    }
}
