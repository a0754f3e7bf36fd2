//! The ways to cut a matrix product into workgroups.

use std::fmt::Write as _;

use crate::abilities::Abilities;
use crate::cooperative::Cooperative;
use crate::kernel::MOST_GROUPS;
use crate::shader::Template;

/// The loops of tiles and of few rows, for [`Template::including`].
const TILES: &str = include_str!("../../../shaders/tile.wgsl");
const FEW_ROWS: &str = include_str!("../../../shaders/gemv.wgsl");

/// Depth of a tile.
pub(crate) const DEPTH: usize = 16;

/// Sums that a workgroup of `across` x `down` invocations computes, each of them `rows` x `columns`, multiples of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) across: usize,
    pub(crate) down: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// Every tile that kernels are made with: for each the invocations of a row divide those of a workgroup, so that an invocation
/// always loads the same columns, and what is shared takes 16 KiB at most.
pub(crate) const TILES_OF_ALL_SIZES: [Tile; 12] = [
    tile(16, 16, 8, 8),
    tile(16, 16, 8, 4),
    tile(16, 16, 4, 8),
    tile(8, 8, 8, 8),
    tile(16, 16, 4, 4),
    tile(8, 8, 8, 4),
    tile(8, 8, 4, 8),
    tile(8, 8, 4, 4),
    tile(16, 4, 4, 4),
    tile(4, 16, 4, 4),
    tile(32, 2, 4, 4),
    tile(2, 32, 4, 4),
];

const fn tile(across: usize, down: usize, rows: usize, columns: usize) -> Tile {
    Tile { across, down, rows, columns }
}

impl Tile {
    /// Rows of sums.
    pub(crate) fn m(self) -> usize {
        self.down * self.rows
    }

    /// Columns of sums.
    pub(crate) fn n(self) -> usize {
        self.across * self.columns
    }

    fn name(self) -> String {
        format!("{}x{} by {}x{}", self.m(), self.n(), self.rows, self.columns)
    }

    /// Sums that an invocation gets out of what it loads, relative to the largest tile: products for each load.
    fn worth(self) -> f64 {
        (self.rows * self.columns) as f64 / (self.rows + self.columns) as f64 / 4.0
    }

    fn fill(self, template: Template) -> Template {
        let (mut sums, mut products, mut stores) = (String::new(), String::new(), String::new());
        let (mut totals, mut adds, mut gives) = (String::new(), String::new(), String::new());
        for i in 0..self.rows / 4 {
            let _ = writeln!(products, "            let a{i} = tile_a[a + {i}u];");
        }
        for j in 0..self.columns / 4 {
            let _ = writeln!(products, "            let b{j} = tile_b[b + {}u];", j * self.across);
        }
        for i in 0..self.rows {
            for j in 0..self.columns / 4 {
                let lane = ["x", "y", "z", "w"][i % 4];
                let a = i / 4;
                let _ = writeln!(sums, "    var s{i}_{j} = vec4<f32>();");
                let _ = writeln!(totals, "    var t{i}_{j} = vec4<f32>();");
                let _ = writeln!(adds, "            t{i}_{j} += s{i}_{j}; s{i}_{j} = vec4<f32>();");
                let _ = writeln!(gives, "    s{i}_{j} = t{i}_{j};");
                let _ = writeln!(products, "            s{i}_{j} = mac(a{a}.{lane}, b{j}, s{i}_{j});");
                let _ = writeln!(
                    stores,
                    "    four_y(batch, row + {i}u, column + {}u, s{i}_{j});",
                    4 * j * self.across
                );
            }
        }
        template
            .including(TILES)
            .with("sums", sums)
            .with("totals", totals)
            .with("adds", adds)
            .with("gives", gives)
            .with("products", products)
            .with("stores", stores)
            .with("tile_m", self.m())
            .with("tile_n", self.n())
            .with("tile_k", DEPTH)
            .with("across", self.across)
            .with("down", self.down)
            .with("rows", self.rows)
            .with("fours_of_rows", self.rows / 4)
            .with("columns", self.columns)
    }
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// By tiles; the depth in `splits` parts, whose sums are added by a dispatch of their own.
    Tiles { tile: Tile, splits: usize },
    /// `rows` rows at once: `across` invocations by four columns, `down` parts of the depth.
    FewRows { across: usize, down: usize, rows: usize },
    /// On matrices that a subgroup multiplies as one.
    Cooperative(Cooperative),
}

/// Rows up to which a product is tried by [`Form::FewRows`].
const MOST_FEW_ROWS: usize = 4;

/// Depth of the smallest part that is worth a dispatch of its own.
const LEAST_PART: usize = 256;

impl Form {
    /// The forms to choose from for `extents`: so many products of `m` x `k` by `k` x `n`. The likeliest is first. Those that add a sum's
    /// products in another order than the depth's are left out if it has to be `ordered`.
    pub(crate) fn candidates(extents: [usize; 4], ordered: bool, abilities: &Abilities) -> Vec<Form> {
        let [_, m, n, k] = extents;
        let (at_once, limits) = (abilities.at_once.max(1), &abilities.limits);
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) as usize;
        let mut rated = Vec::new();
        for tile in TILES_OF_ALL_SIZES {
            for splits in [1, 2, 4, 8] {
                if splits > 1 && (ordered || k < splits * LEAST_PART) {
                    continue;
                }
                let form = Form::Tiles { tile, splits };
                let groups = form.groups(extents);
                if groups.iter().any(|&count| count > MOST_GROUPS) || form.part_bytes(extents) > most {
                    continue;
                }
                let waves = groups.iter().product::<usize>().div_ceil(at_once) as f64;
                let each = (tile.m() * tile.n()) as f64 * (k as f64 / splits as f64 + 64.0);
                // Parts are written, read and added by a dispatch of their own.
                let adding =
                    if splits > 1 { (m * n * (splits + 4)) as f64 * 8.0 / at_once as f64 } else { 0.0 };
                rated.push((waves * each / tile.worth() + adding, form));
            }
        }
        rated.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut forms: Vec<Form> = rated.into_iter().map(|(_, form)| form).take(5).collect();
        if m <= MOST_FEW_ROWS && !ordered {
            let rows = m.next_power_of_two().max(1);
            let few = [(16, 16), (4, 64), (64, 4)].map(|(across, down)| Form::FewRows { across, down, rows });
            forms.splice(0..0, few);
        }
        forms
    }

    /// A name for profiles and for what is kept on disk, which no other form of a product has.
    pub(crate) fn name(self) -> String {
        match self {
            Form::Tiles { tile, splits: 1 } => tile.name(),
            Form::Tiles { tile, splits } => format!("{} in {splits}", tile.name()),
            Form::FewRows { across, down, .. } => format!("rows {across}x{down}"),
            Form::Cooperative(Cooperative { size, .. }) => format!("matrices of {size}x{size}"),
        }
    }

    /// In how many parts a sum's products are added by workgroups of their own.
    pub(crate) fn splits(self) -> usize {
        match self {
            Form::Tiles { splits, .. } => splits,
            Form::FewRows { .. } | Form::Cooperative(_) => 1,
        }
    }

    /// Workgroups along the columns, the rows, and the products with their parts.
    pub(crate) fn groups(self, [batches, m, n, _]: [usize; 4]) -> [usize; 3] {
        let (rows, columns) = match self {
            Form::Tiles { tile, .. } => (tile.m(), tile.n()),
            Form::FewRows { across, rows, .. } => (rows, 4 * across),
            Form::Cooperative(matrices) => (matrices.tile(), matrices.tile()),
        };
        [n.div_ceil(columns), m.div_ceil(rows), batches.saturating_mul(self.splits())]
    }

    /// Bytes of the sums of all parts; 0 if there are none.
    pub(crate) fn part_bytes(self, [batches, m, n, _]: [usize; 4]) -> usize {
        if self.splits() == 1 {
            return 0;
        }
        let elements = [batches, self.splits(), m, n.next_multiple_of(4)];
        elements.into_iter().fold(4usize, usize::saturating_mul)
    }

    /// Puts the loops before the functions that they call.
    pub(crate) fn fill(self, template: Template) -> Template {
        match self {
            Form::Tiles { tile, .. } => tile.fill(template),
            Form::Cooperative(matrices) => matrices.fill(template),
            Form::FewRows { across, down, rows } => {
                template.including(FEW_ROWS).with("across", across).with("down", down).with("rows", rows)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_keep_what_the_loops_assume() {
        for tile in TILES_OF_ALL_SIZES {
            let invocations = tile.across * tile.down;
            assert_eq!((tile.rows % 4, tile.columns % 4), (0, 0), "{tile:?}");
            assert_eq!(invocations % (tile.n() / 4), 0, "{tile:?}: an invocation loads other columns");
            assert!(invocations <= 256, "{tile:?}");
            assert!((tile.m() + tile.n()) * DEPTH * 4 <= 16 << 10, "{tile:?}: shared memory");
        }
    }

    #[test]
    fn forms_of_a_product_have_names_of_their_own() {
        let abilities = Abilities::every().swap_remove(0);
        for extents in [[1, 1, 768, 768], [1, 33, 36, 1100], [8, 512, 512, 64]] {
            let mut names: Vec<String> =
                Form::candidates(extents, false, &abilities).into_iter().map(Form::name).collect();
            names.extend(TILES_OF_ALL_SIZES.map(|tile| Form::Tiles { tile, splits: 7 }.name()));
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{names:?}");
        }
    }

    #[test]
    fn the_likeliest_form_fits_the_product() {
        let abilities = |at_once| Abilities { at_once, ..Abilities::every().swap_remove(0) };
        let first = |m, n, k, at_once| Form::candidates([1, m, n, k], false, &abilities(at_once))[0];
        assert_eq!(first(1024, 1024, 512, 4), Form::Tiles { tile: tile(16, 16, 8, 8), splits: 1 });
        assert!(matches!(first(1, 768, 768, 4), Form::FewRows { rows: 1, .. }));
        // Where a few large tiles leave most of the adapter idle, smaller ones or parts do the work.
        assert_ne!(first(64, 49, 512, 128), Form::Tiles { tile: tile(16, 16, 8, 8), splits: 1 });
        assert!(first(64, 64, 8192, 128).splits() > 1);
        let ordered = Form::candidates([1, 12, 20, 4096], true, &abilities(4));
        assert!(
            !ordered.is_empty() && ordered.iter().all(|form| matches!(form, Form::Tiles { splits: 1, .. }))
        );
        // Large images have more columns than small tiles can count.
        let forms = Form::candidates([1, 16, 2048 * 2048, 27], false, &abilities(128));
        assert!(
            !forms.is_empty()
                && forms.iter().all(|form| form.groups([1, 16, 2048 * 2048, 27])[0] <= MOST_GROUPS)
        );
    }
}
