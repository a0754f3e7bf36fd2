//! How sums of products of 8-bit integers are shared out by tiles: by tensor cores where the tiles are full enough.

use crate::source::Template;

const TILES: &str = include_str!("../../../kernels/integer_tile.cuh");
const TENSOR_CORES: &str = include_str!("../../../kernels/integer_mma.cuh");
const MMA: &str = include_str!("../../../kernels/mma.cuh");

/// Side of a tensor cores' tile.
const SIDE: usize = 64;

/// What a block of 256 threads computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntegerTile {
    /// So many rows and columns, an element or a few by each thread.
    Threads { m: usize, n: usize },
    /// 64 rows and columns, by tensor cores.
    TensorCores,
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
            _ => SIDE,
        };
        match (side(m), side(n)) {
            (SIDE, SIDE) => IntegerTile::TensorCores,
            (m, n) => IntegerTile::Threads { m, n },
        }
    }

    fn sides(self) -> (usize, usize) {
        match self {
            IntegerTile::Threads { m, n } => (m, n),
            IntegerTile::TensorCores => (SIDE, SIDE),
        }
    }

    /// Tiles along columns and rows.
    pub(crate) fn tiles(self, m: usize, n: usize) -> (usize, usize) {
        let (rows, columns) = self.sides();
        (n.div_ceil(columns).max(1), m.div_ceil(rows).max(1))
    }

    /// Puts the loops before the source; `b_by_depth` says that neighbours in depth lie side by side in the right operand.
    pub(crate) fn fill(self, template: Template, sums: Sums, b_by_depth: bool) -> Template {
        let template = match self {
            IntegerTile::Threads { m, n } => {
                template.including(TILES).define("TILE_M", format!("{m}u")).define("TILE_N", format!("{n}u"))
            }
            IntegerTile::TensorCores => template.including(MMA).including(TENSOR_CORES),
        };
        template.switch("SUMS_A", sums.a).switch("SUMS_B", sums.b).switch("B_BY_DEPTH", b_by_depth)
    }

    /// What profiles call it.
    pub(crate) fn name(self, product: &str) -> String {
        match self {
            IntegerTile::Threads { m, n } => format!("{product} {m}x{n}"),
            IntegerTile::TensorCores => format!("{product} tensor cores"),
        }
    }
}
