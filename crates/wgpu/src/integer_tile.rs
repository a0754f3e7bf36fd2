//! How sums of products of 8-bit integers are shared out: by tiles, or by columns where there are few rows.

use inferrum_backend::Decline;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, grid};
use crate::shader::Template;

const TILES: &str = include_str!("../../../shaders/integer_tile.wgsl");
const ROWS: &str = include_str!("../../../shaders/integer_rows.wgsl");

/// Words of depth in a tile, four integers each.
const WORDS: usize = 8;

/// Rows that a workgroup takes at once where they are few.
const FEW: usize = 4;

/// Rows up to which a product goes by columns.
const MOST_FEW: usize = 2 * FEW;

/// What a workgroup of 16 x 16 invocations computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntegerTile {
    /// So many rows and columns.
    Square { m: usize, n: usize },
    /// So many rows of 16 columns, of which the invocations share out the depth.
    Rows(usize),
}

/// Of which operand's integers the shader itself must find the sums along the depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) a: bool,
    pub(crate) b: bool,
}

impl IntegerTile {
    /// The tile for a product of `m` rows and `n` columns; `packed` says that words of the right operand lie there packed.
    pub(crate) fn of(m: usize, n: usize, packed: bool) -> IntegerTile {
        if packed && m <= MOST_FEW {
            return IntegerTile::Rows(m.clamp(1, FEW));
        }
        let side = |extent: usize| match extent {
            0..=16 => 16,
            17..=32 => 32,
            _ => 64,
        };
        IntegerTile::Square { m: side(m), n: side(n) }
    }

    /// The kernel of so many products of `m` rows and `n` columns, profiled as `product`.
    ///
    /// # Errors
    /// More workgroups than an adapter counts.
    pub(crate) fn lower(
        self,
        product: &str,
        [batches, m, n]: [usize; 3],
        template: Template,
        sums: Sums,
        bindings: &Bindings,
        params: Vec<u32>,
    ) -> Result<Lowered, Decline> {
        let shader = self.fill(template, sums).build();
        let (rows, columns) = match self {
            IntegerTile::Square { m: rows, n: columns } => (rows, columns),
            IntegerTile::Rows(rows) => (rows, 16),
        };
        let groups = grid([n.div_ceil(columns), m.div_ceil(rows), batches])?;
        let operands = bindings.operands().iter().cloned().collect();
        Ok(Lowered::one(self.name(product), Dispatch { shader, operands, params, groups }))
    }

    /// Puts the loops before the functions that they call.
    fn fill(self, template: Template, sums: Sums) -> Template {
        let template = template.switch("sums_a", sums.a).switch("sums_b", sums.b);
        match self {
            IntegerTile::Square { m, n } => template
                .including(TILES)
                .with("tile_m", m)
                .with("tile_n", n)
                .with("rows", m / 16)
                .with("columns", n / 16)
                .with("size_a", m * WORDS)
                .with("size_b", n * WORDS),
            IntegerTile::Rows(rows) => template.including(ROWS).with("rows", rows),
        }
    }

    /// What profiles call it.
    fn name(self, product: &str) -> String {
        match self {
            IntegerTile::Square { m, n } => format!("{product} {m}x{n}"),
            IntegerTile::Rows(rows) => format!("{product} rows {rows}"),
        }
    }
}
